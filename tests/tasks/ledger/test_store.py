"""The ledger over all runs: the same on every database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from configs.errors import ConfigError, RunBusy
from rigs.clock import HandClock
from rigs.postgres import MakeDatabase
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState

NewRun = Callable[..., RunLedger]


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


def test_a_live_lease_keeps_others_out_until_it_lapses(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    run = new_run()
    with pytest.raises(RunBusy, match="me is working on this run"):
        ledger.claim("r1", "you", 60, lambda _: False)
    clock.sleep(61)
    taken = ledger.claim("r1", "you", 60, lambda _: False)
    assert taken.fence > run.fence


@pytest.mark.parametrize("how", ["dead", "force", "released"])
def test_a_lease_can_be_taken_before_it_lapses(ledger: Ledger, new_run: NewRun, how: str) -> None:
    run = new_run()
    if how == "released":
        run.release()
    taken = ledger.claim("r1", "you", 60, lambda _: how == "dead", force=how == "force")
    assert taken.fence > run.fence


def test_of_two_processes_that_claim_at_once_one_wins(ledger: Ledger, new_run: NewRun) -> None:
    new_run().release()

    def claim(owner: int) -> bool:
        try:
            ledger.claim("r1", f"p{owner}", 60, lambda _: False)
        except RunBusy:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) == 1


def posting(chunk: ChunkRecord, clock: HandClock, **values: Any) -> BatchRecord:
    key = f"{chunk.run_id}/{chunk.number}/1"
    made = BatchRecord(chunk.run_id, chunk.number, 1, 1, key, "acc", "m", 5, 100, 25, clock.now())
    return replace(made, **values)


def test_open_batches_of_runs_that_are_over_are_looked_at_by_others_until_they_have_ended(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    for run_id, key, state in (("r1", "a", RunState.RUNNING), ("r2", "b", RunState.CANCELLED)):
        run = new_run(run_id, key)
        (chunk,) = run.chunks()
        run.move(chunk, ChunkState.INTENDED, "x", batch=posting(chunk, clock, batch_id=f"b-{key}"))
        run.update_run(state=state)
    (forsaken,) = ledger.forsaken_batches("acc", "m")
    assert forsaken.batch_id == "b-b"
    assert ledger.forsaken_batches("acc", "other") == ()
    ledger.note_left_queue(forsaken)
    assert ledger.forsaken_batches("acc", "m") == ()
    assert ledger.batches("r2")[0].ended_at is None, "its own run has not seen it end"


def test_what_is_posted_under_an_account_is_told_over_all_runs(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    made = []
    for run_id, values in (
        ("r1", {"batch_id": "b-1"}),
        ("r2", {}),
        ("r3", {}),
        ("r4", {"requests": 6}),
        ("r5", {"account": "other"}),
        ("r6", {"ended_at": clock.now()}),
    ):
        run = new_run(run_id, run_id)
        (chunk,) = run.chunks()
        made.append(batch := posting(chunk, clock, **values))
        run.move(chunk, ChunkState.INTENDED, "x", batch=batch)
    assert ledger.batch_ids("acc", clock.now()) == {"b-1"}
    assert ledger.batch_ids("acc", clock.now() + timedelta(days=2)) == frozenset()
    assert ledger.unconfirmed(made[1]) == 1, "r3: r2 itself, known, ended, other and longer ones do not count"


def test_a_flow_run_finds_the_run_it_began(ledger: Ledger, new_run: NewRun) -> None:
    new_run("r1", "a", origin="flow-1")
    new_run("r2", "b")
    begun = ledger.run_of_origin("flow-1")
    assert begun is not None
    assert begun.key == "a"
    assert ledger.run_of_origin("flow-2") is None


def test_opening_an_up_to_date_ledger_again_changes_nothing(
    ledger: Ledger, ledger_url: str, clock: HandClock
) -> None:
    from tasks.ledger.database import open_database

    open_database.cache_clear()
    again = Ledger(ledger_url, clock)
    assert again.recent_runs() == ()


def test_a_run_that_a_ledger_lacks_is_put_back_once_with_its_chunks(ledger: Ledger, new_run: NewRun) -> None:
    new_run()
    run = ledger.get_run("r1")
    assert run is not None
    lost = replace(run, id="r2", key="other", fence=1_000, lease_owner=None, lease_until=None)
    chunks = (replace(ledger.chunks("r1")[0], run_id="r2"),)
    ledger.restore_run(lost, chunks, "it is what the folder holds")
    assert (ledger.get_run("r2"), ledger.chunks("r2")) == (lost, chunks)
    assert [event.kind for event in ledger.history("r2")] == ["restored"]
    ledger.supersede("r2")
    superseded = ledger.get_run("r2")
    assert superseded is not None
    assert superseded.state is RunState.CANCELLED
    assert ledger.claim("r2", "me", 60, lambda _: False).fence == 1_001
    with pytest.raises(RunBusy):
        ledger.restore_run(lost, chunks, "once more")


def test_batches_of_a_prompt_are_found_newest_first_where_their_answers_say_their_tokens(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    for number, (prompt, kind) in enumerate([("p", "k"), ("q", "k"), (None, None)], start=1):
        run = new_run(f"r{number}", key=f"k{number}", chunks=3)
        run.update_run(prompt_key=prompt, prompt_kind=kind)
        for chunk, counted in zip(run.chunks(), (5, 5, 0), strict=True):
            key, ended = f"{run.run_id}/{chunk.number}", clock.now() + timedelta(hours=chunk.number)
            batch = BatchRecord(
                run.run_id, chunk.number, 1, 1, key, "a", "m", 5, 9, 9, clock.now(), ended_at=ended
            )
            run.move(chunk, ChunkState.INTENDED, "x", batch=replace(batch, counted_requests=counted))

    def found(**alike: str) -> list[str]:
        return [batch.submission_key for batch in ledger.counted_batches(3, **alike)]

    assert found(prompt_key="p") == ["r1/2", "r1/1"]
    assert sorted(found(prompt_kind="k")[:2]) == ["r1/2", "r2/2"]
    assert len(found(prompt_kind="k")) == 3
    assert found(prompt_key="x") == []


def waiting(run: RunLedger, clock: HandClock, **values: Any) -> ChunkRecord:
    """The run's first chunk, whose batch `b-1` at OpenAI is looked at again in an hour."""
    chunk = run.chunk(1)
    batch = posting(chunk, clock, provider="openai", batch_id="b-1", **values)
    chunk = run.move(chunk, ChunkState.INTENDED, "x", batch=batch)
    chunk = run.move(chunk, ChunkState.UPLOADED, "x")
    return run.move(chunk, ChunkState.SUBMITTED, "x", not_before=clock.now() + timedelta(hours=1))


def test_a_batch_of_which_the_provider_tells_is_due_and_whoever_waits_for_it_is_known(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    run = new_run(chunks=2, origin="flow-run-1")
    waiting(run, clock)
    other = run.chunk(2)
    assert not run.is_look_due()
    for _ in range(3):  # the second delivery finds it due
        (told,) = ledger.look_now("openai", "b-1", "openai says so")
        assert (told.id, told.origin) == ("r1", "flow-run-1")
    assert run.chunk(1).not_before is None
    assert run.chunk(2) == other
    assert run.is_look_due()
    assert [(event.kind, event.chunk) for event in ledger.history("r1")].count(("webhook", 1)) == 1
    run.check()  # the lease is whose it was


@pytest.mark.parametrize(
    "how", ["unknown", "another provider", "ended", "collected", "posted anew", "cancelled", "no ledger row"]
)
def test_what_no_run_waits_for_changes_nothing(
    ledger: Ledger, new_run: NewRun, clock: HandClock, how: str
) -> None:
    run = new_run()
    provider, batch_id = "openai", "b-1"
    if how != "no ledger row":
        chunk = waiting(run, clock)
    match how:
        case "unknown":
            batch_id = "b-10"
        case "another provider":
            provider = "gemini"
        case "ended" | "collected" | "posted anew":
            chunk = run.move(chunk, ChunkState.ENDED, "x", batch_values={"ended_at": clock.now()})
            if how == "collected":
                run.move(chunk, ChunkState.COLLECTED, "x")
            elif how == "posted anew":
                run.move(chunk, ChunkState.PREPARED, "x", attempt=2)
        case "cancelled":
            run.update_run(state=RunState.CANCELLED)
    before = (ledger.get_run("r1"), ledger.chunks("r1"), ledger.batches("r1"), ledger.history("r1"))
    assert ledger.look_now(provider, batch_id, "somebody says so") == ()
    assert (ledger.get_run("r1"), ledger.chunks("r1"), ledger.batches("r1"), ledger.history("r1")) == before
    assert not run.is_look_due()


def test_a_look_that_was_under_way_does_not_put_off_what_was_told_meanwhile(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    run = new_run()
    as_read, later = waiting(run, clock), clock.now() + timedelta(hours=2)
    values = {"not_before": later, "waiting_for": "running", "at_risk_since": None}
    looks: tuple[Callable[[ChunkRecord], object], ...] = (
        lambda chunk: run.postpone(chunk, later, "running"),
        lambda chunk: run.postpone_looked_at({later: [chunk]}, []),
        lambda chunk: run.postpone_looked_at({}, [(chunk, values, {})]),
    )
    for look in looks:
        ledger.look_now("openai", "b-1", "openai says so")
        look(as_read)
        assert run.is_look_due()
    # The look for which it is due has seen it.
    run.postpone(run.chunk(1), later, "running")
    assert run.chunk(1).not_before == later
    assert not run.is_look_due()


def test_a_user_of_the_database_who_may_not_write_is_told_what_to_grant(
    postgres_url: MakeDatabase, clock: HandClock
) -> None:
    url = postgres_url()
    Ledger(url, clock).create_run(
        "r1",
        job="letters",
        key="k",
        generation=1,
        logical_date=date(2026, 11, 21),
        spec={},
        identity={},
        folder="x",
    )
    for role, rights in {
        "selecting": "GRANT SELECT ON ALL TABLES IN SCHEMA public TO selecting",
        "idle": "GRANT ALL ON ALL TABLES IN SCHEMA public TO idle; ALTER ROLE idle SET default_transaction_read_only = on",
    }.items():
        with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
            connection.execute(sa.text(f"CREATE ROLE {role} LOGIN; {rights}"))
        readers = Ledger(url.replace("nightmail@", f"{role}:pass-word@"), clock)
        assert readers.get_run("r1") is not None
        with pytest.raises(ConfigError, match="; grant its user SELECT, INSERT") as refused:
            readers.claim("r1", "me", 60, lambda _: False)
        assert "pass-word" not in str(refused.value)
