"""A run whose price is high posts nothing until a person approves it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.errors import ConfigError
from rigs.workspace import Workspace, everything_once
from tasks import approve
from tasks.approve import approve_run
from tasks.ledger.records import RunRecord
from tasks.orchestration.current_run import FlowRunInfo
from tasks.orchestration.other_runs import NoServer, Seen
from tasks.orchestration.sleep import PAUSED_FOR_BILLING, WAITS_FOR_APPROVAL
from tasks.runs import prices


class Server(NoServer):
    """Knows one flow run, and what it was waked for."""

    def __init__(self, **values: Any) -> None:
        seen = {"kind": "SCHEDULED", "name": "Sleeping", "deployed": True, **values}
        self.run = Seen("f-1", "enrich", "letters k", since=datetime(2026, 11, 22, tzinfo=UTC), **seen)
        self.waked: list[str] = []

    def see(self, origin: str) -> Seen | None:
        return self.run if origin == "f-1" else None

    def wake(self, seen: Seen, why: str = "") -> bool:
        self.waked.append(why)
        return True


@pytest.fixture
def dear(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Ten rows that may cost $2, in two batches."""
    monkeypatch.setattr(
        prices, "load_prices", lambda: {"prices": [{"model": "m", "input": 0, "output": 20_000}]}
    )
    workspace.change("prompt.params", {"max_completion_tokens": 10})
    workspace.change("limits.max_requests", 5)
    return workspace


def record(workspace: Workspace) -> RunRecord:
    run = workspace.ledger.latest_run("letters", "k")
    assert run is not None
    return run


def stop_when_it_sleeps(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    """Note what the run waits for, and end it there."""

    def end(_wake: datetime, reason: str, *_: object) -> None:
        said.append(reason)
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.enrich.sleep_until", end)


def test_a_dear_run_waits_until_it_is_approved_and_the_ledger_knows_by_whom(
    dear: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear.change("budget", {"approve_above_usd": 1.5})
    assert any(
        "it waits for approval: it may cost up to $2.00" in note for note in dear.run(dry_run=True)["notes"]
    )
    said: list[str] = []
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_when_it_sleeps(patched, said)
        dear.run()
    assert (
        "waits for approval: it may cost up to $2.00, more than budget.approve_above_usd ($1.50)" in said[0]
    )
    assert "nightmail approve letters/k" in said[0]
    assert dear.batches() == ()

    line = approve_run(dear.home, SystemClock(), "letters/k", "ann on desk", NoServer())
    assert line == "letters k is approved by ann on desk; it posts at its next look"
    assert record(dear).approved_by == "ann on desk"
    assert record(dear).approved_at is not None
    assert {chunk.not_before for chunk in dear.ledger.chunks(dear.run_id)} == {None}, "what waited is due now"
    assert [(e.kind, e.detail) for e in dear.ledger.history(dear.run_id)][-1] == (
        "approved",
        "by ann on desk",
    )
    assert "was approved by ann on desk" in approve_run(
        dear.home, SystemClock(), "letters/k", "bob", NoServer()
    )

    assert dear.run()["rows"] == {"total": 10, "succeeded": 10}
    everything_once(dear)
    assert "nothing to approve" in approve_run(dear.home, SystemClock(), "letters/k", "bob", NoServer())


def test_a_run_that_costs_no_more_asks_nobody(dear: Workspace) -> None:
    dear.change("budget", {"approve_above_usd": 2.1})
    assert dear.run()["rows"] == {"total": 10, "succeeded": 10}


@pytest.mark.parametrize(
    ("values", "waked"),
    [
        ({}, ["it was approved"]),
        ({"kind": "PAUSED", "name": WAITS_FOR_APPROVAL}, ["it was approved"]),
        ({"kind": "PAUSED", "name": "Paused"}, []),
        ({"kind": "RUNNING", "name": "Running"}, []),
        ({"deployed": False}, []),
    ],
    ids=["asleep", "paused", "paused by a person", "at work", "at a terminal"],
)
def test_an_approved_flow_run_is_waked_where_it_sleeps(
    dear: Workspace, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], waked: list[str]
) -> None:
    dear.change("budget", {"approve_above_usd": 1.5})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_when_it_sleeps(patched, [])
        dear.run()
    run = dear.ledger.claim(dear.run_id, "test", 60, lambda _: True)
    run.update_run(origin="f-1")
    run.release()
    server = Server(**values)
    approve_run(dear.home, SystemClock(), "f-1", "ann", server)
    assert server.waked == waked


@pytest.mark.parametrize(
    ("resumed", "approves"),
    [(WAITS_FOR_APPROVAL, True), (PAUSED_FOR_BILLING, False), ("Paused", False), (None, False)],
)
def test_a_persons_resume_approves_and_no_other_start_of_the_flow_run_does(
    dear: Workspace, monkeypatch: pytest.MonkeyPatch, resumed: str | None, approves: bool
) -> None:
    info = FlowRunInfo("f-1", deployed=True, scheduled=False, expected_start=None, started_at=None)
    asleep_as: list[object] = []

    def stop(*given: object) -> None:
        asleep_as.append(given[3])
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.enrich.current_flow_run", lambda: info)
    monkeypatch.setattr(approve, "current_flow_run", lambda: info)
    monkeypatch.setattr(approve, "resumed_from", lambda _: None)
    dear.change("budget", {"approve_above_usd": 1.5})
    with monkeypatch.context() as patched:
        patched.setattr("tasks.enrich.sleep_until", stop)
        for _ in range(2):  # it wakes by itself
            with pytest.raises(KeyboardInterrupt):
                dear.run()
        monkeypatch.setattr(approve, "resumed_from", lambda _: resumed)
        patched.setattr("tasks.advance.emit_run_paused", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            dear.run()
    assert set(asleep_as[:2]) == {WAITS_FOR_APPROVAL}
    assert bool(dear.batches()) is approves
    assert record(dear).approved_by == ("Resume in Prefect of flow run f-1" if approves else None)
    assert asleep_as[2:] == [None if approves else WAITS_FOR_APPROVAL]


def test_there_must_be_such_a_run(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="no such run"):
        approve_run(workspace.home, SystemClock(), "letters/none", "ann", NoServer())
