"""What a backfill needs of whoever carries its runs out: a Prefect server and its workers, or this process."""

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
    """The run of one date: `over` when it has ended, `failure` why it ended without an output."""

    @property
    def over(self) -> bool: ...
    @property
    def failure(self) -> str: ...
    @property
    def made_at(self) -> datetime | None: ...
    @property
    def link(self) -> str | None:
        """Where people can look at it."""


class DateRuns(Protocol):
    """The runs of one backfill."""

    def started(self) -> Mapping[date, DateRun]:
        """Those that this backfill has started so far, by date."""

    def elsewhere(self, days: Collection[date]) -> Collection[date]:
        """Of these dates, those that somebody else's run is working on, or will."""

    def start(self, request: RunRequest) -> DateRun:
        """Start the run of the request's date."""

    def wait(self, seconds: float, so_far: BackfillProgress) -> None:
        """Return when a run may have ended, at the latest after that time; `so_far` is shown meanwhile."""
