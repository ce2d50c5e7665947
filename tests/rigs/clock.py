"""Time under a test's control."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from configs.clock import SystemClock


class HandClock:
    """Time moves when the test says so."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class JumpingClock(SystemClock):
    """The real time, and `later` from the first sleep on before which `due` is true: time passes when a test has seen enough.

    A limit that is so long cannot be over too early, however slow the machine is.
    """

    def __init__(self, due: Callable[[], bool], later: timedelta) -> None:
        self._due, self._later, self._ahead = due, later, timedelta(0)

    def now(self) -> datetime:
        return super().now() + self._ahead

    def sleep(self, seconds: float) -> None:
        if not self._ahead and self._due():
            self._ahead = self._later
        super().sleep(seconds)


@pytest.fixture
def two_hours_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on runs begin two hours later: what has a limit of a second has lasted longer, however fast it was."""

    def move() -> None:
        clock = JumpingClock(lambda: True, timedelta(hours=2))
        clock.sleep(0)
        monkeypatch.setattr("tasks.enrich.SystemClock", lambda: clock)

    return move


@pytest.fixture
def fast_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second, not seconds, after a transient error."""
    from tasks.runs import faults  # brings the ledger, which takes a while to import

    monkeypatch.setattr(faults, "fault_delay", lambda *_: timedelta(seconds=0.02))


class ImpatientClock(SystemClock):
    """The real time, but for sleeps of a minute and more: they are over at once, and noted in `slept`."""

    def __init__(self) -> None:
        self.slept: list[int] = []
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self._ahead

    def sleep(self, seconds: float) -> None:
        if seconds < 60:
            super().sleep(seconds)
        else:
            self.slept.append(round(seconds / 60))
            self._ahead += timedelta(seconds=seconds)
