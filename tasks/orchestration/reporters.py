"""Show progress while a run works and leave its receipt at the end: in the Prefect UI, on a terminal, or both."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from configs.progress import Progress, Reporter, Silent
from tasks.orchestration.artifacts import keep, keep_markdown, keep_table
from tasks.runs.session import Run
from tasks.stages.report.plan import Plan
from tasks.stages.report.plan_text import plan_as_markdown
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import as_markdown

_SECONDS_BETWEEN_UPDATES = 2.0
_on_terminal: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


@contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """Let runs in this block show their progress to `reporter` as well."""
    token = _on_terminal.set(reporter)
    try:
        yield
    finally:
        _on_terminal.reset(token)


def current_reporter(name: str) -> Reporter:
    """The terminal's reporter if there is one, and Prefect's inside a flow run, where `name` is what it is about."""
    shown: list[Reporter] = [reporter] if (reporter := _on_terminal.get()) else []
    if FlowRunContext.get() is not None:
        shown.append(_PrefectReporter(name))
    return shown[0] if len(shown) == 1 else _Several(shown) if shown else Silent()


def publish_receipt(receipt: Receipt) -> None:
    """Leave the receipt as an artifact of the flow run, if there is one."""
    keep_markdown(f"receipt-{receipt.job}", as_markdown(receipt), f"Receipt of {receipt.key}")


def publish_plan(plan: Plan) -> None:
    """Leave a dry run's plan as an artifact of the flow run, if there is one."""
    keep_markdown(f"plan-{plan.job}", plan_as_markdown(plan), f"What a run for {plan.key} would do")


def publish_lines(key: str, lines: Sequence[str], title: str) -> None:
    """Leave lines as an artifact of the flow run, if there is one and there are any."""
    if lines:
        keep_markdown(key, "\n".join(f"- {line}" for line in lines), title)


def publish_batches(run: Run) -> None:
    """The run's batches, who they are at the provider and how far they are, as a table of the flow run."""
    if FlowRunContext.get() is None:
        return
    rows = [
        {
            "chunk": batch.chunk,
            "attempt": batch.attempt,
            "batch": batch.batch_id or "not confirmed yet",
            "state": batch.status or "intended",
            "requests": batch.requests,
            "completed": batch.completed,
            "failed": batch.failed,
            "posted": _local(run, batch.submitted_at),
            "ended": _local(run, batch.ended_at),
            "cost": batch.cost_usd,
            "error": batch.error_text or batch.error_code,
        }
        for batch in run.ledger.batches()
    ]
    keep_table(f"batches-{run.job.name}", rows, f"Batches of {run.title} at {run.service.account}")


def _local(run: Run, at: datetime | None) -> str:
    return f"{at.astimezone(run.job.zone):%Y-%m-%d %H:%M}" if at else ""


class _PrefectReporter:
    """A progress artifact and the flow run's log."""

    def __init__(self, name: str) -> None:
        self._key = f"progress-{name}"
        self._updated = float("-inf")
        self._log: logging.Logger | logging.LoggerAdapter[Any] = get_run_logger()

    def progress(self, now: Progress) -> None:
        too_soon = time.monotonic() - self._updated < _SECONDS_BETWEEN_UPDATES
        if not now.total or (too_soon and now.done < now.total):
            return
        self._updated = time.monotonic()
        text = f"{now.phase}: {now.done:,} of {now.total:,} {now.unit}. {now.detail}"
        keep("progress", self._key, 100.0 * now.done / now.total, text)

    def note(self, text: str) -> None:
        self._log.info(text)


class _Several:
    def __init__(self, reporters: list[Reporter]) -> None:
        self._reporters = reporters

    def progress(self, now: Progress) -> None:
        for reporter in self._reporters:
            reporter.progress(now)

    def note(self, text: str) -> None:
        for reporter in self._reporters:
            reporter.note(text)
