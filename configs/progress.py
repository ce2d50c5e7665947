"""What a run tells while it works. Steps report to a `Reporter`; a terminal bar or a Prefect artifact shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Progress:
    """Where a run is. `total` is None while it is not known."""

    phase: str
    done: int
    total: int | None
    unit: str
    detail: str = ""


class Reporter(Protocol):
    """Shows progress somewhere."""

    def progress(self, now: Progress) -> None:
        """Called often; must be cheap."""

    def note(self, text: str) -> None:
        """One line that is worth keeping."""


class Silent:
    """Shows nothing."""

    def progress(self, now: Progress) -> None:
        pass

    def note(self, text: str) -> None:
        pass
