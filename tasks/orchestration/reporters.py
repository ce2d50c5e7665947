"""Show a run's progress, batches and receipt: as Prefect artifacts, on a terminal, or both."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from configs.foreign_text import printable
from configs.json_log import logs_json
from configs.progress import Progress, Reporter, SilentReporter
from tasks.ledger.transitions import ChunkState
from tasks.orchestration.artifacts import save_artifact, save_markdown, save_table, slug
from tasks.orchestration.current_run import current_flow_run, flow_run_context
from tasks.orchestration.progress_tag import set_progress_tag
from tasks.runs.row_progress import RowProgress
from tasks.runs.session import Run
from tasks.stages.report.formatting import markdown_text
from tasks.stages.report.plan import Plan
from tasks.stages.report.plan_text import plan_as_markdown
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import as_markdown

_SECONDS_BETWEEN_UPDATES = 2.0  # each update is a request to the Prefect server
_terminal_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


@contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """Send the progress of runs started in this block to `reporter` as well."""
    token = _terminal_reporter.set(reporter)
    try:
        yield
    finally:
        _terminal_reporter.reset(token)


def current_reporter(name: str) -> Reporter:
    """The reporter for this call: the terminal's if there is one, and Prefect's inside a flow run.

    `name` becomes part of the progress artifact's key.
    """
    reporters: list[Reporter] = [reporter] if (reporter := _terminal_reporter.get()) else []
    if flow_run_context() is not None:
        reporters.append(_PrefectReporter(name))
    return (
        reporters[0] if len(reporters) == 1 else _MultiReporter(reporters) if reporters else SilentReporter()
    )


def note_on_terminal(line: str) -> None:
    """Show what a step has said in the log of a flow run on the terminal too, if the run has one."""
    reporter = _terminal_reporter.get()
    if reporter is not None and not logs_json():  # the step's own line is among those
        reporter.note(line)


def publish_receipt(receipt: Receipt) -> None:
    """Save the receipt as an artifact of the flow run, if there is one."""
    save_markdown(f"receipt-{receipt.job}", as_markdown(receipt), f"Receipt of {receipt.key}")


def publish_plan(plan: Plan) -> None:
    """Save a dry run's plan as an artifact of the flow run, if there is one."""
    save_markdown(f"plan-{plan.job}", plan_as_markdown(plan), f"What a run for {plan.key} would do")


def publish_lines(key: str, lines: Sequence[str], title: str) -> None:
    """Save a list of lines as an artifact of the flow run, if there is one and the list is not empty."""
    if lines:
        save_markdown(key, "\n".join(f"- {markdown_text(line)}" for line in lines), title)


def publish_batches(run: Run) -> None:
    """Save the run's batches, with their ids at the provider and their state, as a table artifact of the flow run."""
    if flow_run_context() is None:
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
            "posted": _local_time(run, batch.submitted_at),
            "ended": _local_time(run, batch.ended_at),
            "cost": batch.cost_usd,
            "error": batch.error_text or batch.error_code,
            "lane": batch.lane,
        }
        for batch in run.ledger.batches()
    ]
    save_table(_batches_key(run), rows, f"Batches of {run.title} at {run.service.account}")


def pages_of(run: Run, console_url: str | None) -> list[str]:
    """Where the batches of a run in a flow run are shown while it sleeps, each with its URL: Prefect's logs make links of them."""
    if flow_run_context() is None:
        return []
    from prefect.settings import PREFECT_UI_URL

    ui_url = PREFECT_UI_URL.value()
    return [
        *([f"batches: {ui_url}/artifacts/key/{slug(_batches_key(run))}"] if ui_url else []),
        *([f"console: {console_url}/runs/{run.id}"] if console_url else []),
    ]


def _batches_key(run: Run) -> str:
    return f"batches-{run.job.name}"


def tag_with_progress(run: Run) -> None:
    """Tag the deployed flow run with the share of its rows that are done; a run that is all done has no such tag.

    For as long as a flow run sleeps, its page in Prefect's UI shows neither task runs nor artifacts, but its tags; and so does
    the list of all flow runs.
    """
    flow_run = current_flow_run()
    if flow_run is None or not flow_run.deployed:
        return
    chunks = run.ledger.chunks()
    if all(chunk.state is ChunkState.MERGED for chunk in chunks):
        set_progress_tag(flow_run, None)
        return
    rows = RowProgress(chunks, run.ledger.posted_batches()).progress
    set_progress_tag(flow_run, 100 * rows.done // (rows.total or 1))


def _local_time(run: Run, moment: datetime | None) -> str:
    return f"{moment.astimezone(run.job.zone):%Y-%m-%d %H:%M}" if moment else ""


class _PrefectReporter:
    """Reports to a progress artifact and to the flow run's log."""

    def __init__(self, name: str) -> None:
        from prefect.logging import get_run_logger

        self._key = f"progress-{name}"
        self._updated = float("-inf")
        self._log: logging.Logger | logging.LoggerAdapter[Any] = get_run_logger()

    def progress(self, progress: Progress) -> None:
        updated_recently = time.monotonic() - self._updated < _SECONDS_BETWEEN_UPDATES
        if not progress.total or (updated_recently and progress.done < progress.total):
            return
        self._updated = time.monotonic()
        text = f"{progress.phase}: {progress.done:,} of {progress.total:,} {progress.unit}. {markdown_text(progress.detail)}"
        save_artifact("progress", self._key, 100.0 * progress.done / progress.total, text)

    def note(self, text: str) -> None:
        self._log.info("%s", printable(text))


class _MultiReporter:
    """Reports to several reporters."""

    def __init__(self, reporters: list[Reporter]) -> None:
        self._reporters = reporters

    def progress(self, progress: Progress) -> None:
        for reporter in self._reporters:
            reporter.progress(progress)

    def note(self, text: str) -> None:
        for reporter in self._reporters:
            reporter.note(text)
