"""What people see: progress while a run works, a receipt at its end; in the Prefect UI, on a terminal, or both."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from configs.progress import Progress, Reporter, Silent
from tasks.stages.receipt import as_markdown

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


def current_reporter() -> Reporter:
    """The terminal's reporter if there is one, and Prefect's inside a flow run."""
    shown: list[Reporter] = [reporter] if (reporter := _on_terminal.get()) else []
    if FlowRunContext.get() is not None:
        shown.append(_PrefectReporter())
    return shown[0] if len(shown) == 1 else _Several(shown) if shown else Silent()


def publish_receipt(receipt: Mapping[str, Any]) -> None:
    """Leave the receipt as an artifact of the flow run, if there is one."""
    if FlowRunContext.get() is not None:
        create_markdown_artifact(
            as_markdown(receipt), key=f"receipt-{slug(receipt['job'])}", description="Receipt"
        )


def slug(name: str) -> str:
    """A name as artifact keys want it: lower case letters, digits and dashes."""
    return name.lower().replace("_", "-")


class _PrefectReporter:
    """A progress artifact and the flow run's log."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._updated = float("-inf")
        self._log: logging.Logger | logging.LoggerAdapter[Any] = get_run_logger()

    def progress(self, now: Progress) -> None:
        too_soon = time.monotonic() - self._updated < _SECONDS_BETWEEN_UPDATES
        if not now.total or (too_soon and now.done < now.total):
            return
        self._updated = time.monotonic()
        percent = 100.0 * now.done / now.total
        said = f"{now.phase}: {now.done:,} of {now.total:,} {now.unit}. {now.detail}"
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key="progress", description=said)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact, percent, description=said)

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
