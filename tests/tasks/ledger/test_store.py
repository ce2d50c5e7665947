"""The ledger's contract, the same on every database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from configs.errors import IntegrityError, LeaseLost, RunBusy
from tasks.ledger.records import RETRIED, BatchRecord, ChunkRecord, Lease
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState

NewRun = Callable[..., Lease]


def posting(ledger: Ledger, chunk: ChunkRecord, clock: Any, **values: Any) -> BatchRecord:
    key = f"{chunk.run_id}/{chunk.number}/{chunk.attempt}.{chunk.posting}"
    made = BatchRecord(
        chunk.run_id, chunk.number, chunk.attempt, chunk.posting, key, "acc", "m", 5, 100, 25, clock.now()
    )
    return replace(made, **values)


def test_a_run_is_found_by_job_and_key_and_keeps_what_it_was_made_of(ledger: Ledger, new_run: NewRun) -> None:
    new_run()
    run = ledger.latest_run("letters", "2026-11-21")
    assert run is not None
    assert (run.id, run.state, run.spec, run.generation) == ("r1", RunState.RUNNING, {"name": "letters"}, 1)
    assert run.created_at.utcoffset() == timedelta(0)
    assert ledger.latest_run("letters", "other") is None


def test_the_same_run_cannot_be_made_twice(new_run: NewRun) -> None:
    new_run()
    with pytest.raises(RunBusy):
        new_run("r2")


def test_a_live_lease_keeps_others_out_until_it_lapses(ledger: Ledger, new_run: NewRun, clock: Any) -> None:
    lease = new_run()
    with pytest.raises(RunBusy, match="me is working on this run"):
        ledger.claim("r1", "you", 60, lambda _: False)
    clock.sleep(61)
    taken = ledger.claim("r1", "you", 60, lambda _: False)
    assert taken.fence > lease.fence


@pytest.mark.parametrize("how", ["gone", "force", "released"])
def test_a_lease_can_be_taken_before_it_lapses(ledger: Ledger, new_run: NewRun, how: str) -> None:
    lease = new_run()
    if how == "released":
        ledger.release(lease)
    taken = ledger.claim("r1", "you", 60, lambda _: how == "gone", force=how == "force")
    assert taken.fence > lease.fence


def test_whoever_lost_the_lease_can_write_nothing(ledger: Ledger, new_run: NewRun, clock: Any) -> None:
    lost = new_run()
    (chunk,) = ledger.chunks("r1")
    held = ledger.claim("r1", "you", 60, lambda _: False, force=True)
    before = (ledger.get_run("r1"), ledger.chunks("r1"), ledger.batches("r1"), ledger.history("r1"))
    writes: list[Callable[[], object]] = [
        lambda: ledger.check(lost),
        lambda: ledger.renew(lost, 60),
        lambda: ledger.update_run(lost, state=RunState.FINISHED),
        lambda: ledger.replace_chunks(lost, (), state=RunState.RUNNING),
        lambda: ledger.move(lost, chunk, ChunkState.INTENDED, "x", batch=posting(ledger, chunk, clock)),
        lambda: ledger.postpone(lost, chunk, clock.now(), "x"),
        lambda: ledger.reopen(lost, (), "x", state=RunState.RUNNING),
        lambda: ledger.note(lost, "x", "y"),
        lambda: ledger.tidied(lost),
        lambda: ledger.forget(lost),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    ledger.release(lost)
    assert (ledger.get_run("r1"), ledger.chunks("r1"), ledger.batches("r1"), ledger.history("r1")) == before
    ledger.check(held)


def test_of_two_processes_that_claim_at_once_one_wins(ledger: Ledger, new_run: NewRun) -> None:
    ledger.release(new_run())

    def claim(owner: int) -> bool:
        try:
            ledger.claim("r1", f"p{owner}", 60, lambda _: False)
        except RunBusy:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) == 1


def test_a_move_changes_chunk_batch_and_history_together(ledger: Ledger, new_run: NewRun, clock: Any) -> None:
    lease = new_run()
    (chunk,) = ledger.chunks("r1")
    moved = ledger.move(lease, chunk, ChunkState.INTENDED, "posting", batch=posting(ledger, chunk, clock))
    moved = ledger.move(lease, moved, ChunkState.UPLOADED, "up", batch_values={"file_id": "file-1"})
    assert ledger.chunks("r1") == (moved,)
    assert ledger.batch(moved).file_id == "file-1"
    assert [(e.kind, e.detail) for e in ledger.history("r1")][1:] == [
        ("intended", "posting"),
        ("uploaded", "up"),
    ]


def test_a_move_that_the_life_of_a_chunk_does_not_know_is_refused(ledger: Ledger, new_run: NewRun) -> None:
    lease = new_run()
    (chunk,) = ledger.chunks("r1")
    with pytest.raises(IntegrityError, match="cannot go from prepared to merged"):
        ledger.move(lease, chunk, ChunkState.MERGED, "x")


def test_a_move_from_a_state_the_chunk_left_is_refused_as_a_whole(
    ledger: Ledger, new_run: NewRun, clock: Any
) -> None:
    lease = new_run()
    (chunk,) = ledger.chunks("r1")
    ledger.move(lease, chunk, ChunkState.INTENDED, "x", batch=posting(ledger, chunk, clock))
    with pytest.raises(IntegrityError, match="no longer prepared"):
        ledger.move(lease, chunk, ChunkState.COLLECTED, "y")
    assert len(ledger.batches("r1")) == 1


def merged(ledger: Ledger, lease: Lease, clock: Any) -> tuple[ChunkRecord, ...]:
    """Take both chunks to their end, each with two attempts."""
    for chunk in ledger.chunks(lease.run_id):
        now = chunk
        for attempt in (1, 2):
            posted = replace(now, attempt=attempt)
            now = ledger.move(
                lease,
                now,
                ChunkState.INTENDED,
                "x",
                batch=posting(ledger, posted, clock, batch_id=f"b-{chunk.number}-{attempt}"),
                attempt=attempt,
            )
            for state in (ChunkState.UPLOADED, ChunkState.SUBMITTED, ChunkState.ENDED, ChunkState.COLLECTED):
                now = ledger.move(lease, now, state, "x")
            now = ledger.move(lease, now, ChunkState.PREPARED if attempt == 1 else ChunkState.MERGED, "x")
    return ledger.chunks(lease.run_id)


def test_a_run_is_reopened_with_the_chunks_that_wait_and_a_mark_on_their_batches(
    ledger: Ledger, new_run: NewRun, clock: Any
) -> None:
    lease = new_run(chunks=2)
    _, second = merged(ledger, lease, clock)
    ledger.update_run(lease, state=RunState.FINISHED, receipt={"rows": {}}, finished_at=clock.now())
    ledger.reopen(lease, [second], "again", mark=RETRIED, state=RunState.RUNNING, receipt=None)
    assert [chunk.state for chunk in ledger.chunks("r1")] == [ChunkState.MERGED, ChunkState.COLLECTED]
    assert [batch.is_attempt for batch in ledger.batches("r1")] == [True, True, False, False]
    run = ledger.get_run("r1")
    assert run is not None
    assert (run.state, run.receipt) == (RunState.RUNNING, None)
    assert [(e.chunk, e.detail) for e in ledger.history("r1")][-1:] == [(2, "again")]


def test_a_run_is_reopened_as_a_whole_or_not_at_all(ledger: Ledger, new_run: NewRun, clock: Any) -> None:
    lease = new_run(chunks=2)
    first, second = merged(ledger, lease, clock)
    ledger.reopen(lease, [second], "again", state=RunState.RUNNING)
    with pytest.raises(IntegrityError, match="chunk 2: is no longer merged"):
        ledger.reopen(lease, [first, second], "again", mark=RETRIED, state=RunState.FINISHED)
    assert ledger.chunks("r1")[0].state is ChunkState.MERGED
    assert all(batch.is_attempt for batch in ledger.batches("r1"))
    run = ledger.get_run("r1")
    assert run is not None
    assert run.state is RunState.RUNNING


def test_faults_count_until_something_works(ledger: Ledger, new_run: NewRun, clock: Any) -> None:
    lease = new_run()
    (chunk,) = ledger.chunks("r1")
    for faults in (1, 2):
        chunk = ledger.postpone(lease, chunk, clock.now(), "HTTP 500", fault=True)
        assert chunk.faults == faults
    assert ledger.postpone(lease, chunk, clock.now(), "looked").faults == 0
    assert [event.kind for event in ledger.history("r1")].count("fault") == 2


def test_enqueued_tokens_are_those_of_open_batches_of_all_runs(
    ledger: Ledger, new_run: NewRun, clock: Any
) -> None:
    leases = []
    for run_id, key, ended in (("r1", "a", None), ("r2", "b", None), ("r3", "c", clock.now())):
        leases.append(lease := new_run(run_id, key))
        (chunk,) = ledger.chunks(run_id)
        ledger.move(
            lease, chunk, ChunkState.INTENDED, "x", batch=posting(ledger, chunk, clock, ended_at=ended)
        )
    assert ledger.enqueued_tokens("acc", "m") == 50
    ledger.update_run(leases[0], state=RunState.CANCELLED)
    assert ledger.enqueued_tokens("acc", "m") == 25, "nobody sees the batches of a run that is over end"
    assert ledger.enqueued_tokens("acc", "other") == 0


def test_a_flow_run_finds_the_run_it_began(ledger: Ledger, new_run: NewRun) -> None:
    new_run("r1", "a", origin="flow-1")
    new_run("r2", "b")
    begun = ledger.run_of_origin("flow-1")
    assert begun is not None
    assert begun.key == "a"
    assert ledger.run_of_origin("flow-2") is None


def test_opening_an_up_to_date_ledger_again_changes_nothing(
    ledger: Ledger, ledger_url: str, clock: Any
) -> None:
    from tasks.ledger.database import open_database

    open_database.cache_clear()
    again = Ledger(ledger_url, clock)
    assert again.recent_runs() == ()


def test_the_migrations_make_the_schema_that_the_code_uses(ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from tasks.ledger.schema import metadata

    with ledger._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
