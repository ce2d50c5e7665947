"""Progress reports. Steps report to a `Reporter`, which shows them in a terminal bar or a Prefect artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Progress:
    """How far a phase of a run is. `total` is None while it is not known."""

    phase: str
    done: int
    total: int | None
    unit: str
    detail: str = ""


class Reporter(Protocol):
    """Receives progress and messages, and shows them."""

    def progress(self, progress: Progress) -> None:
        """Show the progress. Called often, so it must be cheap."""

    def note(self, text: str) -> None:
        """Show a message of one line, which stays visible or in the log."""


class SilentReporter:
    """Ignores all reports."""

    def progress(self, progress: Progress) -> None:
        pass

    def note(self, text: str) -> None:
        pass
