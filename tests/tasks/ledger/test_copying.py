"""A ledger copied to a file and back, from and into each database: nothing differs, and no other moment is mixed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from configs.errors import ConfigError, LeaseLost
from rigs.clock import HandClock
from tasks.ledger import copying
from tasks.ledger.copying import copy_all, take_over
from tasks.ledger.database import open_database, open_once
from tasks.ledger.records import BatchRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.schema import events, metadata, runs, sweeps
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState


def content(engine: sa.Engine) -> dict[str, list[Any]]:
    """Every row of every table, but for the numbers of events."""
    found: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.columns if column is not events.c.id]
            query = sa.select(*columns).order_by(*table.primary_key.columns)
            found[table.name] = [tuple(row) for row in connection.execute(query)]
    return found


@pytest.fixture
def used(ledger: Ledger, new_run: Callable[..., RunLedger], clock: HandClock) -> Ledger:
    """A ledger with two runs, one of which has posted."""
    new_run("r1", "first")
    run = new_run("r2", "second", chunks=2)
    batch = BatchRecord("r2", 1, 1, 1, "r2/1/1", "a", "m", 5, 100, 25, clock.now())
    run.move(run.chunk(1), ChunkState.INTENDED, "posting", batch=batch)
    run.note("note", "日本語 \u2028")
    return ledger


def test_a_backup_and_what_is_made_of_it_hold_the_same_rows(
    used: Ledger, ledger_url: str, clock: HandClock, tmp_path: Path
) -> None:
    original = open_database(ledger_url)
    before = content(original)
    with open_once(f"sqlite:///{tmp_path / 'backup.db'}") as backup:
        assert copy_all(original, backup) == 2
        assert content(backup) == before
        with original.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        assert take_over(backup, original, clock.now()) == 2
    after = content(original)
    assert {name for name in after if after[name] != before[name]} == {"runs"}, "its leases and fences alone"
    used.claim("r2", "somebody", 60, lambda _: False).note("note", "events are counted on")


def test_who_held_a_lease_of_the_ledger_before_can_write_nothing_into_the_restored_one(
    used: Ledger, new_run: Callable[..., RunLedger], ledger_url: str, clock: HandClock, tmp_path: Path
) -> None:
    holder, original = new_run("r3", "third"), open_database(ledger_url)
    with open_once(f"sqlite:///{tmp_path / 'backup.db'}") as backup:
        copy_all(original, backup)
        with original.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        take_over(backup, original, clock.now())
    with pytest.raises(LeaseLost):
        holder.note("note", "late")
    run = used.claim("r3", "next", 60, lambda _: False).read_run()
    assert run.fence > clock.now().timestamp()
    assert run.lease_until == clock.now() + timedelta(seconds=60)


def test_what_is_committed_while_a_backup_is_made_is_in_it_whole_or_not_at_all(
    used: Ledger,
    new_run: Callable[..., RunLedger],
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, late = copying._partitions, ["r3"]

    def partitions(*given: Any) -> Iterator[list[dict[str, Any]]]:
        yield from real(*given)
        if late:
            new_run(late.pop(), "late", chunks=3)

    before = content(open_database(ledger_url))
    monkeypatch.setattr(copying, "_partitions", partitions)
    with open_once(f"sqlite:///{tmp_path / 'backup.db'}") as backup:
        copy_all(open_database(ledger_url), backup)
        assert content(backup) == before
    assert used.get_run("r3") is not None


def test_nothing_is_mixed_into_a_ledger_that_has_runs(
    used: Ledger, ledger_url: str, clock: HandClock, tmp_path: Path
) -> None:
    original = open_database(ledger_url)
    before = content(original)
    with open_once(f"sqlite:///{tmp_path / 'other.db'}") as other:
        Ledger(f"sqlite:///{tmp_path / 'other.db'}", clock)
        with pytest.raises(ConfigError, match=r"has runs already, and nothing is mixed into them; stop"):
            take_over(other, original, clock.now())
    assert content(original) == before


def test_a_new_ledger_has_no_runs_and_takes_a_copy_without_any(
    ledger_url: str, clock: HandClock, tmp_path: Path
) -> None:
    with open_once(f"sqlite:///{tmp_path / 'new.db'}") as empty:
        assert take_over(empty, open_database(ledger_url), clock.now()) == 0
        with open_database(ledger_url).connect() as connection:
            assert connection.execute(sa.select(sweeps.c.id)).scalars().all() == [1]
            assert connection.execute(sa.select(runs.c.id)).first() is None
