"""Ledgers of earlier versions: migrated with all they know, and their runs go on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from configs.clock import SystemClock
from configs.progress import SilentReporter
from rigs.clock import HandClock
from rigs.interrupted import Stop
from rigs.workspace import Workspace
from tasks.ledger import database
from tasks.ledger.database import open_database
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.schema import metadata
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState

S = ChunkState
THEN = "2026-11-21T23:00:00+00:00"
LATER = "2026-11-21T23:30:00+00:00"


def migrate(url: str, revision: str) -> None:
    """Bring a ledger to that revision, up or down, as an earlier version would have left it."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(database._MIGRATIONS))
        there = sa.inspect(connection).has_table("alembic_version")
        (command.downgrade if there else command.upgrade)(config, revision)
    engine.dispose()
    open_database.cache_clear()


def columns(url: str, table: str) -> set[str]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        names = {column["name"] for column in sa.inspect(connection).get_columns(table)}
    engine.dispose()
    return names


def test_the_migrations_make_the_schema_that_the_code_uses(ledger_url: str) -> None:
    with open_database(ledger_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []


# Of every chunk: its state, what it waits for, since when its provider is silent; of its batch: history, error message.
OLD: list[tuple[str, str | None, str | None, list[list[str]] | None, str | None]] = [
    ("prepared", "waiting for room", None, None, None),
    ("intended", None, None, [], None),
    (
        "uploaded",
        "no proper answer for over 1h: HTTP 503",
        THEN,
        [["creating", THEN], ["creating", LATER]],
        None,
    ),
    ("submitted", "at risk: batch b: running; if it is not done", None, [["running", THEN]], None),
    ("submitted", "cancelling b", None, [["running", THEN], ["stopped", LATER], ["running", LATER]], None),
    ("ended", None, None, [["failed", THEN]], "line 3: no such model: x"),
    ("collected", None, None, [["failed", THEN]], "line 12 (custom_id t-1): no\nsuch model"),
    ("merged", None, None, [["completed", THEN], ["retried", LATER]], None),
    ("merged", None, None, [["failed", THEN]], "line of thought missing"),
]


def old_ledger(url: str) -> None:
    """A ledger as version 0001 wrote it, with one run and the chunks of OLD."""
    migrate(url, "0001")
    engine = sa.create_engine(url)
    tables = sa.MetaData()
    tables.reflect(engine)
    then = datetime.fromisoformat(THEN)
    with engine.begin() as connection:
        run = {"id": "r1", "job": "letters", "key": "k", "generation": 1, "state": "running", "fence": 3}
        about = {"spec": {}, "identity": {}, "folder": "letters/k", "bad_lines": 0, "created_at": then}
        day = {"logical_date": then.date()}
        connection.execute(tables.tables["runs"].insert().values(**run, **about, **day))
        for number, (state, waiting_for, silent_since, history, message) in enumerate(OLD, start=1):
            sizes = {"requests": 20, "bytes": 9, "tokens_estimate": 9}
            at = {"run_id": "r1", "attempt": 1, "posting": 1, **sizes}
            chunk = {"number": number, "first_row": number, "rows": 20, "state": state, "faults": 0}
            since = datetime.fromisoformat(silent_since) if silent_since else None
            wait = {"waiting_for": waiting_for, "silent_since": since}
            connection.execute(tables.tables["chunks"].insert().values(**at, **chunk, **wait))
            if history is not None:
                batch = {"chunk": number, "submission_key": f"r1/{number}/1", "account": "a", "model": "m"}
                known = {"batch_id": "b", "history": history, "error_message": message, "intended_at": then}
                connection.execute(tables.tables["batches"].insert().values(**at, **batch, **known, polls=0))
    engine.dispose()


def test_what_stood_in_texts_is_in_columns(ledger_url: str, clock: HandClock) -> None:
    old_ledger(ledger_url)
    assert "error_line" not in columns(ledger_url, "batches")
    ledger = Ledger(ledger_url, clock)
    chunks = {chunk.number: chunk for chunk in ledger.chunks("r1")}
    batches = {batch.chunk: batch for batch in ledger.batches("r1")}

    assert [(chunk.state, chunk.waiting_for) for chunk in chunks.values()] == [old[:2] for old in OLD]
    assert [number for number, chunk in chunks.items() if chunk.silence_warned_at] == [3]
    assert [number for number, chunk in chunks.items() if chunk.at_risk_since] == [4]
    assert [number for number, batch in batches.items() if batch.create_sent_at] == [3]
    assert batches[3].create_sent_at == datetime.fromisoformat(LATER)
    assert [number for number, batch in batches.items() if batch.stopped_at] == [5]
    assert [number for number, batch in batches.items() if batch.retried_at] == [8]
    assert [number for number, batch in batches.items() if not batch.is_attempt] == [5, 8]
    assert batches[5].history == (("running", THEN), ("running", LATER))
    assert [batch.history for number, batch in batches.items() if number in (2, 3)] == [(), ()]
    located = {n: (b.error_line, b.error_custom_id) for n, b in batches.items() if b.error_line is not None}
    assert located == {6: (3, None), 7: (12, "t-1")}
    shown = {number: batch.error_text for number, batch in batches.items()}
    assert shown == {number: old[4] for number, old in enumerate(OLD, start=1) if old[3] is not None}


def test_a_run_of_before_has_no_estimate(ledger_url: str, clock: HandClock) -> None:
    old_ledger(ledger_url)
    assert "estimate" not in columns(ledger_url, "runs")
    run = Ledger(ledger_url, clock).get_run("r1")
    assert run is not None
    assert run.estimate is None


def test_what_a_run_of_before_asked_and_what_a_cache_did_to_it_is_not_known(
    ledger_url: str, clock: HandClock
) -> None:
    old_ledger(ledger_url)
    assert "prompt_key" not in columns(ledger_url, "runs")
    ledger = Ledger(ledger_url, clock)
    run, batch = ledger.get_run("r1"), ledger.batches("r1")[0]
    assert run is not None
    assert (run.prompt_key, run.prompt_kind) == (None, None)
    assert (batch.counted_requests, batch.output_p95, batch.cache_write_tokens, batch.cache_write_usd) == (
        None,
    ) * 4
    assert batch.answered_requests is None


def test_chunks_of_before_ask_what_their_job_says(ledger_url: str, clock: HandClock) -> None:
    old_ledger(ledger_url)
    assert "prompt" not in columns(ledger_url, "chunks")
    assert {chunk.prompt for chunk in Ledger(ledger_url, clock).chunks("r1")} == {None}


def test_everything_that_a_run_of_before_posted_is_a_batch(ledger_url: str, clock: HandClock) -> None:
    old_ledger(ledger_url)
    assert "lane" not in columns(ledger_url, "batches")
    ledger = Ledger(ledger_url, clock)
    assert {batch.lane for batch in ledger.batches("r1")} == {None}
    assert {(chunk.lane, chunk.lane_rows, chunk.lane_usd) for chunk in ledger.chunks("r1")} == {
        (None, None, None)
    }


def test_a_ledger_that_goes_back_to_an_earlier_version_has_the_texts_again(
    ledger_url: str, clock: HandClock
) -> None:
    old_ledger(ledger_url)
    Ledger(ledger_url, clock)
    migrate(ledger_url, "0001")
    assert not {"error_line", "stopped_at"} & columns(ledger_url, "batches")
    engine = sa.create_engine(ledger_url)
    with engine.connect() as connection:
        query = "SELECT history, error_message FROM batches ORDER BY chunk"
        rows = [(_json(history), message) for history, message in connection.execute(sa.text(query))]
    engine.dispose()
    kept = [(history, message) for *_, history, message in OLD if history is not None]
    kept[1] = ([["creating", LATER]], None)  # only the last one was ever asked for
    assert [(sorted(history), message) for history, message in rows] == [
        (sorted(history), message) for history, message in kept
    ]


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def stop_at(monkeypatch: pytest.MonkeyPatch, state: ChunkState, *, before: bool) -> None:
    """End the process right before, or right after, a chunk first comes into that state."""

    def ending(real: Callable[..., Any], entered: Callable[..., ChunkState]) -> Callable[..., Any]:
        def call(*args: Any, **values: Any) -> Any:
            if entered(*args) is not state:
                return real(*args, **values)
            if not before:
                real(*args, **values)
            raise Stop

        return call

    for name in ("move", "move_if_admitted"):
        monkeypatch.setattr(
            RunLedger, name, ending(getattr(RunLedger, name), lambda _run, _chunk, to, *_: to)
        )
    prepared = ending(RunLedger.replace_chunks, lambda *_: S.PREPARED)
    monkeypatch.setattr(RunLedger, "replace_chunks", prepared)


@pytest.mark.parametrize(
    ("state", "before"),
    [*((state, False) for state in S), (S.SUBMITTED, True)],
    ids=[*S, "created and not confirmed"],
)
def test_a_run_of_the_version_before_goes_on_from_every_state_and_pays_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, state: ChunkState, before: bool
) -> None:
    workspace.source(6)
    workspace.change("limits.max_requests", 3)
    with monkeypatch.context() as patched, pytest.raises(Stop):
        stop_at(patched, state, before=before)
        workspace.run()
    migrate(workspace.home.ledger_url, "0001")
    assert "create_sent_at" not in columns(workspace.home.ledger_url, "batches")
    assert workspace.run()["rows"] == {"total": 6, "succeeded": 6}
    assert workspace.paid() == {"1/1": 1, "2/1": 1}
    assert workspace.column("id") == [f"t-{n}" for n in range(6)]


def test_a_plan_leaves_a_ledger_of_the_version_before_as_it_is(workspace: Workspace) -> None:
    workspace.run()
    url = workspace.home.ledger_url
    migrate(url, "0001")
    assert workspace.run(key="next", dry_run=True)["rows"] == 10
    assert database.revisions(url)[0] == "0001"


def test_batches_of_the_version_before_say_their_provider_and_reserve_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Stop):
        stop_at(patched, S.SUBMITTED, before=False)
        workspace.run()
    migrate(workspace.home.ledger_url, "0006")
    assert "provider" not in columns(workspace.home.ledger_url, "batches")
    (batch,) = workspace.batches()
    assert (batch.provider, batch.reserved_usd, batch.reserved_tokens) == ("openai", None, None)
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}


@pytest.mark.parametrize("state", [S.ENDED, S.COLLECTED])
def test_a_batch_that_the_version_before_saw_refused_for_a_line_names_the_row(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, state: ChunkState
) -> None:
    workspace.faults("fail:model_not_found:9")
    with monkeypatch.context() as patched, pytest.raises(Stop):
        stop_at(patched, state, before=False)
        workspace.run()
    migrate(workspace.home.ledger_url, "0001")
    workspace.run()
    (message,) = set(workspace.column("llm_error_message"))
    assert message.startswith("line 1 (custom_id t-0): ")


def test_a_cancelled_run_of_the_version_before_has_its_attempt_back(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import enrich as flow
    from tasks.cancel import cancel_run

    def stop(*_: object) -> None:
        raise Stop

    workspace.change("retry.max_attempts", 1)
    workspace.faults("stuck:in_progress*1")
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(flow, "sleep_until", stop)
        workspace.run()
    cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())
    migrate(workspace.home.ledger_url, "0001")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1, "1/2": 1}
