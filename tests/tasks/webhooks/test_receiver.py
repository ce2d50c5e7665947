"""What a delivery does: once, for the run that waits for its batch, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from configs.errors import NotGenuine, StorageError, TransientError
from configs.home import Home
from rigs.clock import HandClock
from rigs.signed import OTHER_SECRET, event, signed
from tasks.ledger.store import Ledger
from tasks.providers.webhooks import WebhookEvent
from tasks.webhooks.receiver import Receiver

from .conftest import BATCH, FLOW_RUN, RUN, Server


def deliver(receiver: Receiver, batch_id: str = BATCH, provider: str = "openai", **how: Any) -> None:
    body = event(batch_id)
    receiver.receive(provider, body, signed(body, **how))


def untold(ledger: Ledger) -> bool:
    return all(chunk.not_before is not None for chunk in ledger.chunks(RUN))


def test_the_batch_is_due_and_its_flow_run_is_waked(
    receiver: Receiver, ledger: Ledger, server: Server, notes: list[str]
) -> None:
    deliver(receiver)
    assert [chunk.number for chunk in ledger.chunks(RUN) if chunk.not_before is None] == [3]
    assert server.waked == [f"{FLOW_RUN}: openai says that something has become of {BATCH}"]
    assert notes == [f"openai: {BATCH}: letters key-0009 is to look now, and is waked"]


def test_a_replay_does_nothing_however_often_and_from_how_many_sides_it_comes(
    receiver: Receiver, ledger: Ledger, server: Server, notes: list[str]
) -> None:
    def sent_until_taken(_: int) -> None:
        while True:
            with suppress(TransientError):  # another one of them is being taken
                return deliver(receiver)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sent_until_taken, range(40)))
    assert len(server.waked) == 1
    assert len(notes) == 1
    assert [each.kind for each in ledger.history(RUN)].count("webhook") == 1


def test_another_event_about_the_batch_wakes_a_run_that_sleeps_again(
    receiver: Receiver, server: Server
) -> None:
    asleep = server.flow_run
    deliver(receiver, event_id="evt_1")
    server.flow_run = asleep
    deliver(receiver, event_id="evt_2")
    assert len(server.waked) == 2


@pytest.mark.parametrize(
    "how",
    [
        {"batch_id": "batch_of_others"},
        {"batch_id": "batch_00000_1"},  # of a run that is finished
        {"batch_id": "batch_00009_1"},  # of a chunk that is merged
        {"provider": "gemini"},
        {"batch_id": "%"},
    ],
    ids=str,
)
def test_what_no_run_waits_for_does_nothing(
    receiver: Receiver, ledger: Ledger, server: Server, notes: list[str], how: dict[str, str]
) -> None:
    deliver(receiver, **how)
    assert (untold(ledger), server.waked, notes) == (True, [], [])


def test_a_forgery_does_nothing(receiver: Receiver, ledger: Ledger, server: Server) -> None:
    for how in ({"secret": OTHER_SECRET}, {"age": 3_600}):
        with pytest.raises(NotGenuine):
            deliver(receiver, **how)
    assert (untold(ledger), server.waked) == (True, [])
    deliver(receiver)  # a forgery with its id does not keep the event out
    assert len(server.waked) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "RUNNING", "name": "Running"},
        {"kind": "PAUSED", "name": "Waiting for approval"},
        {"name": "AwaitingRetry"},
        {"kind": "CANCELLED", "name": "Cancelled"},
        {"deployed": False},
    ],
    ids=str,
)
def test_only_a_flow_run_that_sleeps_is_waked(
    receiver: Receiver, ledger: Ledger, server: Server, values: dict[str, Any]
) -> None:
    server.flow_run = replace(server.flow_run, **values)
    deliver(receiver)
    assert server.waked == []
    assert not untold(ledger), "whoever works on it sees this before it sleeps"


def test_what_could_not_be_done_is_done_when_it_is_sent_again(receiver: Receiver, server: Server) -> None:
    server.away = 2
    for _ in range(2):
        with pytest.raises(TransientError, match="the Prefect server does not answer"):
            deliver(receiver)
    deliver(receiver)
    deliver(receiver)
    assert len(server.waked) == 1


def test_a_delivery_that_comes_while_the_same_one_is_taken_is_to_be_sent_again(
    receiver: Receiver, server: Server
) -> None:
    """The first may yet fail: a provider that had its answer by the second would not send a third."""
    connected, refusals = server.connected, []

    @contextmanager
    def busy() -> Iterator[Any]:
        with pytest.raises(TransientError, match="send it again") as refused:
            deliver(receiver)
        refusals.append(refused.value)
        with connected() as flow_runs:
            yield flow_runs

    receiver._flow_runs = busy
    server.away = 1
    with pytest.raises(TransientError, match="does not answer"):
        deliver(receiver)
    receiver._flow_runs = connected
    deliver(receiver)
    assert (len(refusals), len(server.waked)) == (1, 1)


def test_without_a_ledger_nobody_waits_and_one_of_another_version_is_waited_for(
    receiver: Receiver, home: Home, server: Server, tmp_path: Path
) -> None:
    empty = Home.from_environment({"NIGHTMAIL_HOME": str(tmp_path / "other")})
    clock = HandClock()
    new = Receiver(receiver.readers, empty, clock, server.connected, lambda _: None)
    deliver(new, event_id="evt_1")
    assert not empty.folder.exists()
    empty.folder.mkdir()
    (empty.folder / "ledger.db").touch()
    deliver(new, event_id="evt_2")  # a database in which nobody has begun a run yet
    with closing(sqlite3.connect(empty.folder / "ledger.db")) as ledger, ledger:
        ledger.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        ledger.execute("INSERT INTO alembic_version VALUES ('0001')")
    with pytest.raises(StorageError, match=r"it has the schema 0001 and not \d{4}; start the receiver of"):
        deliver(new, event_id="evt_3")
    assert server.waked == []


def test_ids_are_forgotten_once_no_signature_of_them_holds(home: Home, server: Server) -> None:
    class Signed:
        def read(self, body: bytes, headers: Any) -> WebhookEvent:
            return WebhookEvent(body.decode(), BATCH)

    clock, asleep = HandClock(), server.flow_run
    receiver = Receiver({"openai": Signed()}, home, clock, server.connected, lambda _: None)
    waked = []
    for minutes in (0, 5, 5, 10):  # from one to the next
        clock.sleep(timedelta(minutes=minutes).total_seconds())
        server.flow_run, server.waked = asleep, []
        receiver.receive("openai", b"evt_1", {})
        waked.append(len(server.waked))
    assert waked == [1, 0, 0, 1]
