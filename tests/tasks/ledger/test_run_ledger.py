"""One run in the ledger, held by its lease: the same on every database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from configs.errors import IntegrityError, LeaseLost
from rigs.clock import HandClock
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState

NewRun = Callable[..., RunLedger]
S = ChunkState


def posting(chunk: ChunkRecord, clock: HandClock, **values: Any) -> BatchRecord:
    key = f"{chunk.run_id}/{chunk.number}/{chunk.attempt}.{chunk.posting}"
    made = BatchRecord(
        chunk.run_id, chunk.number, chunk.attempt, chunk.posting, key, "acc", "m", 5, 100, 25, clock.now()
    )
    return replace(made, **values)


READS = {
    "read_run",
    "chunks",
    "chunk",
    "rows",
    "first_stat",
    "is_look_due",
    "others_on_their_way",
    "batches",
    "batches_of",
    "batch",
    "posted_batches",
    "cache_used_at",
    "lone_request_before",
}
WRITES: dict[str, Callable[[RunLedger, ChunkRecord, BatchRecord, Any], object]] = {
    "check": lambda run, _chunk, _batch, _now: run.check(),
    "renew": lambda run, _chunk, _batch, _now: run.renew(60),
    "update_run": lambda run, _chunk, _batch, _now: run.update_run(state=RunState.FINISHED),
    "replace_chunks": lambda run, _chunk, _batch, _now: run.replace_chunks((), state=RunState.RUNNING),
    "move": lambda run, chunk, batch, _now: run.move(chunk, S.INTENDED, "x", batch=batch),
    "move_if_admitted": lambda run, chunk, batch, now: run.move_if_admitted(
        chunk, S.INTENDED, "x", batch=batch, configured=1, caps=(), next_look=now
    ),
    "leave_batch": lambda run, chunk, batch, _now: run.leave_batch(chunk, batch, ()),
    "stay_in_batches": lambda run, chunk, _batch, _now: run.stay_in_batches(chunk, "x"),
    "learn_quota": lambda run, _chunk, batch, _now: run.learn_quota(batch, 1),
    "postpone": lambda run, chunk, _batch, now: run.postpone(chunk, now, "x"),
    "postpone_after_fault": lambda run, chunk, _batch, now: run.postpone_after_fault(chunk, now, "x"),
    "postpone_looked_at": lambda run, chunk, _batch, now: run.postpone_looked_at({now: [chunk]}, []),
    "update_batch": lambda run, chunk, _batch, now: run.update_batch(chunk, create_sent_at=now),
    "begin_ranges": lambda run, _chunk, _batch, _now: run.begin_ranges(5, 2),
    "add_chunks": lambda run, chunk, _batch, _now: run.add_chunks((chunk,), ranges_prepared=1, of=2),
    "leave_ranges_out": lambda run, _chunk, _batch, _now: run.leave_ranges_out(1, "x"),
    "begin_publishing": lambda run, _chunk, _batch, _now: run.begin_publishing(),
    "reopen": lambda run, _chunk, _batch, _now: run.reopen((), "x", state=RunState.RUNNING),
    "pause": lambda run, _chunk, _batch, now: run.pause(now, "x"),
    "end_pause": lambda run, _chunk, _batch, _now: run.end_pause("x"),
    "note": lambda run, _chunk, _batch, _now: run.note("x", "y"),
    "mark_tidied": lambda run, _chunk, _batch, _now: run.mark_tidied(),
    "switch_reuse_index": lambda run, _chunk, _batch, _now: run.switch_reuse_index("letters", None, "x"),
    "delete_run": lambda run, _chunk, _batch, _now: run.delete_run(),
}


def test_whoever_lost_the_lease_can_write_nothing(ledger: Ledger, new_run: NewRun, clock: HandClock) -> None:
    lost = new_run()
    (chunk,) = lost.chunks()
    batch = posting(chunk, clock)
    held = ledger.claim("r1", "you", 60, lambda _: False, force=True)

    def everything() -> object:
        return ledger.get_run("r1"), ledger.chunks("r1"), ledger.batches("r1"), ledger.history("r1")

    before = everything()
    for write in WRITES.values():
        with pytest.raises(LeaseLost):
            write(lost, chunk, batch, clock.now())
    lost.release()
    assert everything() == before
    held.check()


def test_every_method_is_known_to_read_or_is_proved_to_check_the_lease() -> None:
    methods = {name for name in vars(RunLedger) if not name.startswith("_")}
    assert methods == {*READS, *WRITES, "release"}


def _chunk(number: int, first_row: int) -> ChunkRecord:
    return ChunkRecord("r1", number, first_row, 5, S.PREPARED, 1, 1, 5, 100, 25)


def test_a_run_is_published_once_every_range_is_recorded_or_left_out(new_run: NewRun) -> None:
    run = new_run(chunks=0)
    run.begin_ranges(5, 3)
    for number in (1, 2):
        with pytest.raises(IntegrityError, match=rf"{4 - number} of 3 ranges are not prepared"):
            run.begin_publishing()
        run.add_chunks((_chunk(number, 5 * number - 5),), ranges_prepared=number, of=3)
    assert run.read_run().state is RunState.RUNNING
    run.leave_ranges_out(1, "the source changed")
    run.begin_publishing()
    assert run.read_run().state is RunState.PUBLISHING


@pytest.mark.parametrize(("number", "first_row"), [(1, 0), (2, 4), (2, 6), (3, 5)])
def test_chunks_are_added_only_where_the_recorded_ones_end(
    new_run: NewRun, number: int, first_row: int
) -> None:
    run = new_run(chunks=0)
    run.begin_ranges(5, 2)
    run.add_chunks((_chunk(1, 0),), ranges_prepared=1, of=2)
    with pytest.raises(IntegrityError, match="chunk 2 is to begin at 5"):
        run.add_chunks((_chunk(number, first_row),), ranges_prepared=2, of=2)
    assert len(run.chunks()) == run.read_run().ranges_prepared == 1


def test_a_renewed_lease_lasts_from_now_and_a_released_one_is_free(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    run = new_run()
    clock.sleep(30)
    run.renew(60)
    assert run.read_run().lease_until == clock.now() + timedelta(seconds=60)
    run.release()
    assert (run.read_run().lease_owner, run.read_run().lease_until) == (None, None)


def test_a_move_changes_chunk_batch_and_history_together(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    run = new_run()
    (chunk,) = run.chunks()
    moved = run.move(chunk, S.INTENDED, "posting", batch=posting(chunk, clock))
    moved = run.move(moved, S.UPLOADED, "up", batch_values={"file_id": "file-1"})
    assert run.chunks() == ledger.chunks("r1") == (moved,)
    assert run.chunk(1) == moved
    assert run.batch(moved).file_id == "file-1"
    assert [(e.kind, e.detail) for e in ledger.history("r1")][1:] == [
        ("intended", "posting"),
        ("uploaded", "up"),
    ]


def test_a_move_that_the_life_of_a_chunk_does_not_know_is_refused(new_run: NewRun) -> None:
    run = new_run()
    (chunk,) = run.chunks()
    with pytest.raises(IntegrityError, match="cannot go from prepared to merged"):
        run.move(chunk, S.MERGED, "x")


def test_a_move_from_a_state_the_chunk_left_is_refused_as_a_whole(new_run: NewRun, clock: HandClock) -> None:
    run = new_run()
    (chunk,) = run.chunks()
    run.move(chunk, S.INTENDED, "x", batch=posting(chunk, clock))
    with pytest.raises(IntegrityError, match="no longer prepared"):
        run.move(chunk, S.COLLECTED, "y")
    assert len(run.batches()) == 1


def merged(run: RunLedger, clock: HandClock) -> tuple[ChunkRecord, ...]:
    """Take all chunks to their end, each with two attempts."""
    for chunk in run.chunks():
        now = chunk
        for attempt in (1, 2):
            batch = posting(replace(now, attempt=attempt), clock, batch_id=f"b-{chunk.number}-{attempt}")
            now = run.move(now, S.INTENDED, "x", batch=batch, attempt=attempt)
            for state in (S.UPLOADED, S.SUBMITTED, S.ENDED, S.COLLECTED):
                now = run.move(now, state, "x")
            now = run.move(now, S.PREPARED if attempt == 1 else S.MERGED, "x")
    return run.chunks()


def test_a_run_is_reopened_with_the_chunks_that_wait_and_their_attempts_count_no_more(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    run = new_run(chunks=2)
    _, second = merged(run, clock)
    run.update_run(state=RunState.FINISHED, receipt={"rows": {}}, finished_at=clock.now())
    run.reopen([second], "again", retry=True, state=RunState.RUNNING, receipt=None)
    assert [chunk.state for chunk in run.chunks()] == [S.MERGED, S.COLLECTED]
    assert [batch.is_attempt for batch in run.batches()] == [True, True, False, False]
    assert (run.read_run().state, run.read_run().receipt) == (RunState.RUNNING, None)
    assert [(e.chunk, e.detail) for e in ledger.history("r1")][-1:] == [(2, "again")]


def test_a_run_is_reopened_as_a_whole_or_not_at_all(new_run: NewRun, clock: HandClock) -> None:
    run = new_run(chunks=2)
    first, second = merged(run, clock)
    run.reopen([second], "again", state=RunState.RUNNING)
    with pytest.raises(IntegrityError, match="chunk 2: is no longer merged"):
        run.reopen([first, second], "again", retry=True, state=RunState.FINISHED)
    assert run.chunk(1).state is S.MERGED
    assert all(batch.is_attempt for batch in run.batches())
    assert run.read_run().state is RunState.RUNNING


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"batch_id": "b"}, True),
        ({}, False),
        ({"batch_id": "b", "stopped_at": True}, False),
        ({"batch_id": "b", "retried_at": True}, False),
    ],
)
def test_a_posting_counts_as_an_attempt_unless_somebody_stopped_or_retried_it(
    new_run: NewRun, clock: HandClock, values: dict[str, Any], counts: bool
) -> None:
    run = new_run()
    (chunk,) = run.chunks()
    chunk = run.move(chunk, S.INTENDED, "x", batch=posting(chunk, clock))
    values = {name: clock.now() if value is True else value for name, value in values.items()}
    if values:
        run.update_batch(chunk, **values)
    assert run.batch(chunk).is_attempt is counts


def test_faults_count_until_something_works(ledger: Ledger, new_run: NewRun, clock: HandClock) -> None:
    run = new_run()
    (chunk,) = run.chunks()
    began = clock.now()
    for faults in (1, 2):
        chunk = run.postpone_after_fault(
            chunk, clock.now(), "HTTP 500", silence_warned_at=began, unreliable_replies=faults
        )
        assert (chunk.faults, chunk.silent_since, chunk.silence_warned_at) == (faults, began, began)
        clock.sleep(60)
    chunk = run.postpone(chunk, clock.now(), "looked", at_risk_since=clock.now())
    assert (chunk.faults, chunk.silent_since, chunk.silence_warned_at) == (0, None, None)
    assert chunk.unreliable_replies == 0
    assert run.chunks() == (chunk,)
    assert [event.kind for event in ledger.history("r1")].count("fault") == 2


def test_a_look_at_many_counts_for_each_current_posting_and_changes_only_what_is_new(
    new_run: NewRun, clock: HandClock
) -> None:
    run = new_run(chunks=4)
    posted = []
    for chunk in run.chunks()[:3]:
        intended = run.move(chunk, S.INTENDED, "x", batch=posting(chunk, clock))
        waits = {"waiting_for": "a batch", "not_before": clock.now()}
        posted.append(run.move(intended, S.SUBMITTED, "x", **waits))
    soon, later = clock.now() + timedelta(minutes=1), clock.now() + timedelta(minutes=2)
    new = {"not_before": later, "waiting_for": "half of it"}
    run.postpone_looked_at({soon: posted[:1], later: posted[1:2]}, [(posted[2], new, {"completed": 5})])
    chunks = run.chunks()
    assert [chunk.not_before for chunk in chunks] == [soon, later, later, None]
    assert [chunk.waiting_for for chunk in chunks] == ["a batch", "a batch", "half of it", None]
    assert [(batch.polls, batch.completed) for batch in run.batches()] == [(1, None), (1, None), (0, 5)]
    with pytest.raises(IntegrityError, match="chunks 1 to 4: not all are still submitted"):
        run.postpone_looked_at({soon: [posted[0], chunks[3]]}, [])
    assert run.chunk(1).not_before == soon


def test_a_risk_outlasts_faults_and_ends_with_the_batch(new_run: NewRun, clock: HandClock) -> None:
    run = new_run()
    (chunk,) = run.chunks()
    chunk = run.postpone(chunk, clock.now(), "at risk", at_risk_since=clock.now())
    chunk = run.postpone_after_fault(chunk, clock.now(), "HTTP 500")
    assert chunk.at_risk_since == clock.now()
    assert run.move(chunk, S.COLLECTED, "x").at_risk_since is None
    assert run.chunk(1).at_risk_since is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, None),
        ({"error_message": "no such model"}, "no such model"),
        ({"error_message": "no such model", "error_line": 3}, "line 3: no such model"),
        (
            {"error_message": "no such model", "error_line": 3, "error_custom_id": "t-2"},
            "line 3 (custom_id t-2): no such model",
        ),
        ({"error_line": 3}, "line 3"),
    ],
)
def test_a_batchs_error_names_the_line_and_the_row_at_fault(
    new_run: NewRun, clock: HandClock, values: dict[str, Any], text: str | None
) -> None:
    run = new_run()
    (chunk,) = run.chunks()
    chunk = run.move(chunk, S.INTENDED, "x", batch=posting(chunk, clock, **values))
    assert run.batch(chunk).error_text == text


def test_a_chunks_batches_and_the_posted_ones_are_read_without_the_others(
    new_run: NewRun, clock: HandClock
) -> None:
    run = new_run(chunks=4)
    first, *others = run.chunks()
    for chunk, states in zip(
        others,
        (
            (S.INTENDED,),
            (S.INTENDED, S.UPLOADED, S.SUBMITTED),
            (S.INTENDED, S.UPLOADED, S.SUBMITTED, S.ENDED),
        ),
        strict=True,
    ):
        now = chunk
        for state in states:
            batch = posting(now, clock) if state is S.INTENDED else None
            now = run.move(now, state, "x", batch=batch)
    assert run.batches_of(first) == ()
    again = run.move(
        run.chunk(4), S.UPLOADED, "x", batch=posting(replace(run.chunk(4), posting=2), clock), posting=2
    )
    run.move(again, S.SUBMITTED, "x")
    assert [batch.posting for batch in run.batches_of(again)] == [1, 2]
    assert {number: batch.posting for number, batch in run.posted_batches().items()} == {3: 1, 4: 2}


def test_the_rows_of_a_run_are_those_of_all_its_chunks(new_run: NewRun) -> None:
    run = new_run(chunks=3)
    assert run.rows() == sum(chunk.rows for chunk in run.chunks()) > 0
    run.replace_chunks((), state=RunState.PREPARING)
    assert run.rows() == 0


def test_the_first_stat_is_that_of_the_first_chunk_that_has_one(new_run: NewRun, clock: HandClock) -> None:
    run = new_run(chunks=3)
    chunks = merged(run, clock)
    assert run.first_stat("vector_size") is None
    for chunk, stats in zip(chunks, ({"rows": 5}, {"vector_size": None}, {"vector_size": 64}), strict=True):
        run.reopen([chunk], "x", state=RunState.RUNNING)
        run.move(run.chunk(chunk.number), S.MERGED, "x", stats=stats)
    assert run.first_stat("vector_size") == 64
    assert run.first_stat("other") is None


def test_of_two_runs_that_replace_an_index_one_is_told_that_the_other_was_faster(
    ledger: Ledger, new_run: NewRun
) -> None:
    one, other = new_run("r1", "a"), new_run("r2", "b")
    assert ledger.reuse_index("letters") is None
    assert one.switch_reuse_index("letters", None, "letters/a/index")
    assert not other.switch_reuse_index("letters", None, "letters/b/index")
    first = ledger.reuse_index("letters")
    assert (first.version, first.path) == (1, "letters/a/index")
    assert other.switch_reuse_index("letters", first, "letters/b/index")
    assert not one.switch_reuse_index("letters", first, "letters/a/index")
    assert ledger.reuse_index("letters").path == "letters/b/index"
    assert ledger.reuse_index("others") is None
    ledger.forget_reuse_index("letters")
    assert ledger.reuse_index("letters") is None


def test_the_cache_was_used_when_the_last_batch_that_read_or_wrote_it_ended(
    new_run: NewRun, clock: HandClock
) -> None:
    run = new_run(chunks=4)
    assert run.cache_used_at() is None
    then = clock.now()
    for chunk, hours, used in zip(
        run.chunks(), (1, 2, 3, 4), ({"cache_write_tokens": 9}, {"cached_tokens": 9}, {"cached_tokens": 0}, {}),
        strict=True,
    ):  # fmt: skip
        values = {"ended_at": then + timedelta(hours=hours), **used}
        run.move(chunk, S.INTENDED, "x", batch=posting(chunk, clock, **values))
    assert run.cache_used_at() == then + timedelta(hours=2)


def test_a_chunk_of_one_request_is_waited_for_by_those_after_it_and_once_it_is_posted_by_all(
    new_run: NewRun, clock: HandClock
) -> None:
    run = new_run(chunks=3)
    first, lone, last = run.chunks()
    lone = run.postpone(lone, clock.now(), "x", requests=1)
    assert [run.lone_request_before(chunk) for chunk in (first, lone, last)] == [None, None, lone]
    posted = run.move(lone, S.INTENDED, "x", batch=posting(lone, clock))
    assert [run.lone_request_before(chunk) for chunk in (first, posted, last)] == [posted, None, posted]
