"""The interface of what executes the runs of a backfill: a Prefect server with workers, or threads of this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from configs.request import RunRequest


@dataclass(frozen=True)
class BackfillProgress:
    """How many dates of a backfill are done, and how many are being run."""

    done: int
    running: int
    total: int

    def __str__(self) -> str:
        others = self.total - self.done - self.running
        return f"{self.done}/{self.total} dates done, {self.running} running, {others} others"


class DateRun(Protocol):
    """The run of one date. `ended` is whether it has; `failure` is why it ended without an output, if it did."""

    @property
    def ended(self) -> bool: ...
    @property
    def failure(self) -> str: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def link(self) -> str | None:
        """URL of the run in the Prefect UI, if it has one."""


class DateRuns(Protocol):
    """Starts and follows the runs of one backfill."""

    def started(self) -> Mapping[date, DateRun]:
        """The runs that this backfill has started so far, by date."""

    def running_elsewhere(self, days: Collection[date]) -> Collection[date]:
        """Those of `days` that a run outside this backfill is working on or is scheduled for."""

    def start(self, request: RunRequest) -> DateRun:
        """Start the run of the request's date."""

    def wait(self, seconds: float, progress: BackfillProgress) -> None:
        """Return when a run may have ended, at the latest after `seconds`; shows `progress` meanwhile."""
