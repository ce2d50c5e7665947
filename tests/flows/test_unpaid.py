"""An account that cannot pay: the run pauses, says so, burns no attempt, and goes on when it is told to or after a long wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml

from configs.progress import SilentReporter
from rigs.checkout import ROOT
from rigs.clock import ImpatientClock
from rigs.interrupted import Stop
from rigs.workspace import Workspace
from tasks import approve
from tasks.ledger.caps import NoRoom, Quota, QuotaSource
from tasks.ledger.transitions import ChunkState
from tasks.orchestration.current_run import FlowRunInfo
from tasks.orchestration.reporters import reporting_to
from tasks.orchestration.sleep import PAUSED_FOR_BILLING, WAITS_FOR_APPROVAL
from tasks.runs.queries import list_runs


class Notes(SilentReporter):
    """What is said, but for notes of other kinds."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def note(self, text: str) -> None:
        if "paused" in text:
            self.seen.append(text)


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes()
    with reporting_to(notes):
        yield notes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, fast_faults: None) -> ImpatientClock:
    clock = ImpatientClock()
    monkeypatch.setattr("tasks.enrich.SystemClock", lambda: clock)
    return clock


def events(workspace: Workspace) -> Counter[str]:
    return Counter(event.kind for event in workspace.ledger.history(workspace.run_id))


def creates(workspace: Workspace) -> int:
    """Calls that create a batch, refused ones included."""
    return int(workspace.service.stats()["requests"].get("create", 0))


def test_a_refused_batch_is_tried_again_after_waits_that_grow_and_is_said_each_time(
    workspace: Workspace, clock: ImpatientClock, notes: Notes
) -> None:
    before = creates(workspace)
    workspace.service.fault("create", "unpaid:insufficient_quota", times=3)
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert clock.slept == [15, 30, 60]
    assert creates(workspace) - before == 4
    assert workspace.paid() == {"1/1": 1}
    assert len(notes.seen) == 3
    assert "You exceeded your current quota" in notes.seen[0]
    assert "nothing is posted until 2" in notes.seen[0]
    assert (events(workspace)["paused"], events(workspace)["goes on"]) == (3, 1)
    run = workspace.ledger.latest_run("letters", "k")
    assert run is not None
    assert (run.paused_until, run.pauses) == (None, 0)


@pytest.mark.parametrize("op", ["upload", "create"])
def test_one_chunk_is_refused_and_the_others_wait_until_the_same_command_tells_the_run(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch, notes: Notes, op: str
) -> None:
    from tasks import enrich as flow

    seen: list[Any] = []

    def stop(*asked: Any) -> None:
        seen.extend(asked)
        raise Stop

    before = workspace.service.stats()["requests"].get(op, 0)
    workspace.source(20)
    workspace.change("limits.max_requests", 5)
    workspace.change("execution.transfers", 1)  # what is under way beside it is refused too
    workspace.service.fault(op, "unpaid:billing_hard_limit_reached")
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(flow, "sleep_until", stop)
        workspace.run()
    assert workspace.service.stats()["requests"][op] - before == 1
    assert "paused" in seen[1]
    assert seen[3] == PAUSED_FOR_BILLING, "it waits for a person"
    states = {chunk.state for chunk in workspace.ledger.chunks(workspace.run_id)}
    assert states <= {ChunkState.PREPARED, ChunkState.INTENDED, ChunkState.UPLOADED}
    assert len(notes.seen) == 1
    (listed,) = list_runs(workspace.home)
    assert "paused until" in listed["waiting_for"]
    assert "Billing hard limit" in listed["waiting_for"]
    assert workspace.run()["rows"] == {"total": 20, "succeeded": 20}
    assert workspace.paid() == {f"{chunk}/1": 1 for chunk in range(1, 5)}
    assert set(workspace.column("llm_attempts")) == {1}


@pytest.mark.parametrize(
    ("faults", "paid"),
    [
        ("fail:insufficient_quota:2", {"1/1": 1, "1/1.2": 1, "1/1.3": 1}),
        ("unpaid:t-2|t-7*2", {"1/1": 1, "1/2": 1, "1/3": 1}),
        ("unpaid*1", {"1/1": 1, "1/2": 1}),
    ],
    ids=["the batch failed", "some rows, twice", "all rows"],
)
def test_what_was_refused_in_a_batch_is_asked_again_and_is_no_attempt(
    workspace: Workspace, clock: ImpatientClock, notes: Notes, faults: str, paid: dict[str, int]
) -> None:
    workspace.change("retry", {"max_attempts": 1, "on": ["missing"]})
    workspace.faults(faults)
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert set(workspace.column("llm_attempts")) == {1}
    assert workspace.paid() == paid
    assert clock.slept == [15, 30][: len(paid) - 1]
    assert len(notes.seen) == len(paid) - 1
    assert "insufficient_quota" in notes.seen[0] or "current quota" in notes.seen[0]


@pytest.fixture
def flow_run(monkeypatch: pytest.MonkeyPatch, fast_faults: None) -> None:
    """Every run is the flow run f-1, whose process ends when it falls asleep."""
    from tasks import enrich as flow

    def stop(*_: object) -> None:
        raise Stop

    info = FlowRunInfo("f-1", deployed=True, scheduled=False, expected_start=None, started_at=None)
    monkeypatch.setattr(flow, "current_flow_run", lambda: info)
    monkeypatch.setattr(approve, "current_flow_run", lambda: info)
    monkeypatch.setattr(approve, "resumed_from", lambda _: None)
    monkeypatch.setattr(flow, "sleep_until", stop)
    monkeypatch.setattr("tasks.advance.emit_run_paused", lambda *_: None)


@pytest.mark.parametrize(
    ("minutes", "resumed", "tried", "pauses"),
    [
        (20, None, 2, 2),
        (5, PAUSED_FOR_BILLING, 2, 1),
        (5, None, 1, 1),
        (5, WAITS_FOR_APPROVAL, 1, 1),
    ],
    ids=[
        "when it is over",
        "resumed by a person",
        "by itself, before: nested in another flow, or after a crash",
        "resumed in another pause",
    ],
)
def test_a_pause_ends_by_itself_or_by_a_persons_resume_and_not_since_the_flow_run_woke(
    workspace: Workspace,
    clock: ImpatientClock,
    flow_run: None,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    resumed: str | None,
    tried: int,
    pauses: int,
) -> None:
    before = creates(workspace)
    workspace.service.fault("create", "unpaid:insufficient_quota", times=2)
    for _ in range(2):
        with pytest.raises(Stop):
            workspace.run()
        clock.sleep(minutes * 60)
        monkeypatch.setattr(approve, "resumed_from", lambda _: resumed)
    workspace.service.forgive()
    run = workspace.ledger.latest_run("letters", "k")
    assert run is not None
    assert (creates(workspace) - before, run.pauses) == (tried, pauses)


def test_a_flow_run_that_wakes_for_another_batch_does_not_end_the_pause(
    workspace: Workspace, flow_run: None
) -> None:
    workspace.change("limits.max_requests", 5)
    workspace.faults("stuck:in_progress*1")
    workspace.service.fault("create", "unpaid:insufficient_quota", skip=1)
    before = creates(workspace)
    for _ in range(3):
        with pytest.raises(Stop):
            workspace.run()
    assert creates(workspace) - before == 2
    assert events(workspace)["goes on"] == 0


def test_a_run_that_gives_up_in_its_pause_publishes_what_it_has(
    workspace: Workspace, clock: ImpatientClock
) -> None:
    workspace.change("limits.max_requests", 5)
    workspace.change("run.give_up_after", "2h")
    workspace.service.fault("create", "unpaid:account_deactivated", skip=1, times=99)
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 5, "cancelled": 5}


def test_an_alert_is_told_once_a_pause(
    workspace: Workspace, clock: ImpatientClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    info = FlowRunInfo("f-1", deployed=True, scheduled=False, expected_start=None, started_at=None)
    monkeypatch.setattr("tasks.orchestration.events.current_flow_run", lambda: info)
    monkeypatch.setattr("prefect.events.emit_event", lambda name, **about: told.append((name, about)))
    workspace.change("limits.max_requests", 5)
    workspace.service.fault("create", "unpaid:access_terminated")
    workspace.run()
    ((_, about),) = [each for each in told if each[0] == "nightmail.run.paused"]
    assert about["resource"]["prefect.resource.id"] == "nightmail.flow-run.f-1"
    assert about["payload"]["message"].startswith("letters k is paused: batch ")
    assert "Your access was terminated" in about["payload"]["message"]
    automations = yaml.safe_load((ROOT / "deployments/automations.yaml").read_text())["automations"]
    (person,) = [each for each in automations if "nightmail.run.paused" in each["trigger"]["expect"]]
    assert person["trigger"]["match"] == {"prefect.resource.id": "nightmail.flow-run.*"}


@pytest.mark.parametrize("faults", ["unpaid:t-2*1", "fail:insufficient_quota"])
def test_a_pause_that_is_over_before_the_run_falls_asleep_is_over(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch, faults: str
) -> None:
    monkeypatch.setattr("tasks.runs.session.pause_length", lambda _: timedelta(0))
    workspace.faults(faults)
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}


def test_a_run_that_gives_up_does_not_ask_without_end_for_what_it_may_have_posted(
    workspace: Workspace, clock: ImpatientClock
) -> None:
    workspace.change("run.give_up_after", "10m")
    workspace.service.fault("create", "unpaid:billing_hard_limit_reached")
    workspace.service.fault("list", "unpaid:billing_hard_limit_reached", times=2)
    assert workspace.run()["rows"] == {"total": 10, "cancelled": 10}
    assert clock.slept == [15, 30, 60], "it waits between its looks"


def test_a_batch_that_has_to_wait_for_room_before_it_is_posted_again_is_no_further_refusal(
    workspace: Workspace, clock: ImpatientClock, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import submit

    move, asked = submit.move_if_admitted, 0

    def full_at_first(*given: Any, **values: Any) -> Any:
        nonlocal asked
        asked += 1
        full = NoRoom(Quota(1, QuotaSource.JOB), 1, ())
        return full if asked <= 3 else move(*given, **values)

    monkeypatch.setattr(submit, "move_if_admitted", full_at_first)
    workspace.faults("fail:insufficient_quota:1")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert asked == 4
    assert len(notes.seen) == 1
    assert clock.slept == [15]
