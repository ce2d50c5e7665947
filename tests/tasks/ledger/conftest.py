"""A ledger on every database that must behave the same, by a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from rigs.clock import HandClock
from tasks.ledger.records import ChunkRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState


@pytest.fixture
def clock() -> HandClock:
    """It stands still until the test moves it."""
    return HandClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        yield request.getfixturevalue("postgres_url")()


@pytest.fixture
def ledger(ledger_url: str, clock: HandClock) -> Ledger:
    """An empty ledger."""
    return Ledger(ledger_url, clock)


@pytest.fixture
def new_run(ledger: Ledger) -> Callable[..., RunLedger]:
    """Make a run and claim it."""

    def make(
        run_id: str = "r1", key: str = "2026-11-21", chunks: int = 1, origin: str | None = None
    ) -> RunLedger:
        ledger.create_run(
            run_id,
            job="letters",
            key=key,
            generation=1,
            logical_date=date(2026, 11, 21),
            spec={"name": "letters"},
            identity={"name": "letters"},
            folder=f"letters/{key}",
            origin=origin,
        )
        run = ledger.claim(run_id, "me", 60, lambda _: False)
        prepared = tuple(
            ChunkRecord(run_id, number, number * 5, 5, ChunkState.PREPARED, 1, 1, 5, 100, 25)
            for number in range(1, chunks + 1)
        )
        run.replace_chunks(prepared, state=RunState.RUNNING)
        return run

    return make
