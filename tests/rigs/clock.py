"""Time under a test's control."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest


class HandClock:
    """Time moves when the test says so."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def fast_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second, not seconds, after a transient error."""
    from tasks import advance  # brings Prefect, which takes seconds to import

    monkeypatch.setattr(advance, "fault_delay", lambda *_: timedelta(seconds=0.02))
