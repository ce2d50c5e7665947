"""A sweep over the ledger, with what Prefect would say given; the server itself is in test_server_runs.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.errors import TransientError
from configs.progress import SilentReporter
from flows.cli.main import main
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.ledger.sweeps import Sweeps
from tasks.ledger.transitions import RunState
from tasks.maintenance.sweep import SweepResult, sweep_up
from tasks.orchestration.other_runs import NoServer, Seen
from tasks.orchestration.sleep import PAUSED_FOR_BILLING, WAITS_FOR_APPROVAL

HOUR = timedelta(hours=1)


def flow_run(kind: str, known_as: str = "f-1", **values: Any) -> Seen:
    """A flow run that has been in that state for an hour."""
    since = datetime.now(UTC) - HOUR
    known = {"flow": "enrich", "title": "letters k", "name": kind.title(), "since": since, "deployed": True}
    return Seen(**{"id": known_as, "kind": kind, **known, **values})


class Told:
    """A server that has these flow runs; keeps what it was told to do."""

    def __init__(self, *runs: Seen, moved_on: bool = False) -> None:
        self.runs = {run.id: run for run in runs}
        self.calls: list[str] = []
        self.moved_on = moved_on

    def unsettled(self, now: datetime, late_since: datetime) -> Iterator[Seen]:
        at_work = ("PENDING", "RUNNING", "PAUSED", "CANCELLING", "CRASHED")
        for run in self.runs.values():
            if run.kind in at_work or (run.kind == "SCHEDULED" and run.due and run.due < late_since):
                yield run

    def see(self, origin: str) -> Seen | None:
        return self.runs.get(origin)

    def wake(self, seen: Seen) -> bool:
        self.calls.append(f"wake {seen.id}")
        return not self.moved_on

    def end(self, seen: Seen) -> bool:
        self.calls.append(f"end {seen.id}")
        return not self.moved_on

    def stop_paying(self, origin: str, now: datetime) -> None:
        self.calls.append(f"stop paying {origin}")

    def tell(self, problem: str, seen: Seen, message: str) -> None:
        self.calls.append(f"tell {problem} {seen.id}")

    def completed(self, now: datetime) -> None:
        self.calls.append("completed")


@pytest.fixture
def left(workspace: Workspace) -> Workspace:
    """A run of the flow run `f-1` that nobody works on: its process died while its batch was out."""
    from configs.clock import SystemClock
    from configs.request import RunRequest
    from tasks.advance import advance
    from tasks.prepare import prepare
    from tasks.providers.registry import connect
    from tasks.runs.opening import open_run
    from tasks.runs.request import resolve_request

    workspace.faults("stuck:in_progress")
    resolved = resolve_request(
        RunRequest(workspace.write(), key="k"), workspace.home, SystemClock(), origin="f-1"
    )
    with open_run(
        resolved, connect(resolved.job.provider, workspace.home, os.environ), workspace.home, SystemClock()
    ) as run:
        prepare(run, _silent())
        advance(run, _silent())
    return workspace


def _silent() -> SilentReporter:
    from configs.progress import SilentReporter

    return SilentReporter()


@pytest.mark.parametrize(
    ("kind", "calls", "said"),
    [
        ("RUNNING", ["wake f-1"], "a worker takes it up again"),
        ("CRASHED", ["wake f-1"], "a worker takes it up again"),
        ("CANCELLING", ["end f-1"], "it is Cancelled now"),
        ("CANCELLED", ["stop paying f-1"], "its batches are being cancelled"),
        ("SCHEDULED", [], None),
        ("FAILED", [], None),
    ],
)
def test_what_is_stuck_is_helped_once_with_a_line(
    left: Workspace, kind: str, calls: list[str], said: str | None
) -> None:
    told = Told(flow_run(kind))
    swept = sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == [*calls, "completed"]
    assert len(swept.done) == len(calls)
    if said:
        assert swept.done[0].startswith("letters k: ")
        assert swept.done[0].endswith(said)


@pytest.mark.parametrize(("minutes", "calls"), [(None, ["wake f-1"]), (-1, ["wake f-1"]), (60, [])])
def test_a_run_that_was_paused_for_its_account_is_resumed_when_its_time_is_over(
    left: Workspace, minutes: int | None, calls: list[str]
) -> None:
    if minutes is not None:
        ledger = left.ledger.claim(left.run_id, "someone", 60, lambda _: True)
        ledger.pause(datetime.now(UTC) + timedelta(minutes=minutes), "no money")
        ledger.release()
    told = Told(flow_run("PAUSED", name=PAUSED_FOR_BILLING))
    sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == [*calls, "completed"]


@pytest.mark.parametrize(
    ("since", "values", "calls"),
    [
        (timedelta(minutes=5), {}, []),
        (timedelta(minutes=5), {"approved_at": datetime(2026, 11, 22, tzinfo=UTC)}, ["wake f-1"]),
        (timedelta(hours=2), {}, ["wake f-1"]),
        (timedelta(minutes=5), {"state": RunState.CANCELLED}, ["end f-1"]),
    ],
    ids=["not yet", "approved elsewhere", "long ago", "cancelled"],
)
def test_a_run_that_waits_for_approval_looks_again_when_it_is_approved_and_every_hour_which_approves_nothing(
    left: Workspace, since: timedelta, values: dict[str, Any], calls: list[str]
) -> None:
    ledger = left.ledger.claim(left.run_id, "someone", 60, lambda _: True)
    ledger.update_run(origin="f-1", **values)
    ledger.release()
    told = Told(flow_run("PAUSED", name=WAITS_FOR_APPROVAL, since=datetime.now(UTC) - since))
    sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == [*calls, "completed"]


def test_one_that_a_person_has_paused_is_left_to_them(left: Workspace) -> None:
    told = Told(flow_run("PAUSED", name="Paused"))
    sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == ["completed"]


def test_what_has_moved_on_since_it_was_seen_is_not_said_to_be_helped(left: Workspace) -> None:
    for kind in ("RUNNING", "CANCELLING"):
        assert sweep_up(left.home, os.environ, SystemClock(), Told(flow_run(kind), moved_on=True)).done == []


def test_flow_runs_without_a_run_in_the_ledger_are_helped_as_well_and_none_twice(left: Workspace) -> None:
    now = datetime.now(UTC)
    told = Told(
        flow_run("PENDING"),
        flow_run("PENDING", "f-2", title="letters l"),
        flow_run("RUNNING", "alive", flow="backfill", heard=now - timedelta(seconds=60)),
        flow_run(
            "RUNNING", "dead", flow="backfill", title="letters: 3 dates", heard=now - timedelta(seconds=220)
        ),
        flow_run("CRASHED", "cancel", flow="cancel", title="cancel x"),
        flow_run("PENDING", "jam", flow="sweep", title="sweep"),
        flow_run("SCHEDULED", "missed", flow="sweep", title="sweep", due=now - HOUR),
        flow_run("SCHEDULED", "asleep", title="letters m", due=now + HOUR),
        flow_run("SCHEDULED", "late", title="letters n", name="Late", due=now - HOUR),
        flow_run("CRASHED", "another's", title="letters k"),
    )
    swept = sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == [
        "wake f-1",
        "wake f-2",
        "wake dead",
        "wake cancel",
        "end jam",
        "end missed",
        "tell late late",
        "completed",
    ]
    assert swept.done[1].startswith("letters l: its flow run is Pending since ")
    assert swept.done[1].endswith(" UTC, but no process works on it; a worker takes it up again")
    assert swept.noted[0].endswith("no worker takes it up; start one, or give it room")
    assert swept.noted[1].endswith("and nobody works on it; start it again if it is still needed")


def test_a_run_that_keeps_crashing_is_told_unless_it_got_on_in_between(left: Workspace) -> None:
    now = datetime.now(UTC)
    crashing = flow_run("CRASHED", since=now - timedelta(minutes=2))
    before_its_progress = tuple(now - timedelta(minutes=minutes) for minutes in (50, 40, 30))
    told = Told(replace(crashing, crashed=before_its_progress))
    assert sweep_up(left.home, os.environ, SystemClock(), told).noted == []
    assert told.calls == ["wake f-1", "completed"]

    class Later:
        def now(self) -> datetime:
            return now + timedelta(minutes=30)

        def sleep(self, seconds: float) -> None: ...

    since_then = tuple(now + timedelta(minutes=minutes) for minutes in (5, 20, 27))
    told = Told(replace(crashing, since=since_then[-1], crashed=since_then))
    (line,) = sweep_up(left.home, os.environ, Later(), told).noted
    assert told.calls == ["tell keeps-crashing f-1", "completed"]
    assert line.startswith("letters k: its flow run is Crashed since ")
    assert line.endswith("crashed 3 times; memory, mostly: see its log")


def test_a_crashed_flow_run_whose_run_was_cancelled_is_not_waked_to_pay_again(left: Workspace) -> None:
    cancel_run(left.home, os.environ, SystemClock(), "letters/k", _silent())
    told = Told(flow_run("CRASHED"))
    sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == ["end f-1", "completed"]


def test_a_second_sweep_at_the_same_time_returns_and_says_so(workspace: Workspace) -> None:
    workspace.run()

    class Meanwhile(Told):
        def unsettled(self, now: datetime, late_since: datetime) -> Iterator[Seen]:
            second.append(
                sweep_up(workspace.home, os.environ, SystemClock(), Told(flow_run("CRASHED", "f-2")))
            )
            return iter(())

    second: list[SweepResult] = []
    told = Meanwhile()
    sweep_up(workspace.home, os.environ, SystemClock(), told)
    assert told.calls == ["completed"]
    assert second[0].done == []
    (line,) = second[0].noted
    assert line.startswith(f"sweep: process {os.getpid()} on ")
    assert line.endswith("is sweeping at this moment; nothing was done here")


def test_a_sweep_that_breaks_off_lets_the_next_begin_and_is_not_completed(workspace: Workspace) -> None:
    workspace.run()

    class Away(Told):
        def unsettled(self, now: datetime, late_since: datetime) -> Iterator[Seen]:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        sweep_up(workspace.home, os.environ, SystemClock(), Away())
    sweeps = Sweeps(workspace.home.ledger_url, SystemClock())
    assert sweeps.last_completed() is None
    told = Told()
    sweep_up(workspace.home, os.environ, SystemClock(), told)
    assert told.calls == ["completed"]
    assert sweeps.last_completed() is not None


def test_a_sweep_makes_no_ledger_where_there_is_none(workspace: Workspace) -> None:
    told = Told(flow_run("CRASHED", "backfill", flow="backfill"))
    sweep_up(workspace.home, os.environ, SystemClock(), told)
    assert told.calls == ["wake backfill", "completed"]
    assert not (workspace.home.folder / "ledger.db").exists()


def test_a_run_that_goes_on_at_a_terminal_is_not_taken_for_the_flow_run_it_was_cancelled_with(
    left: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import enrich

    class Stop(Exception): ...

    def stop(*_: object) -> None:
        raise Stop

    cancel_run(left.home, os.environ, SystemClock(), "letters/k", _silent())
    monkeypatch.setattr(enrich, "sleep_until", stop)
    with pytest.raises(Stop):
        left.run()
    told = Told(flow_run("CANCELLED"))
    assert sweep_up(left.home, os.environ, SystemClock(), told).done == []
    assert told.calls == ["completed"]


def test_a_run_that_somebody_holds_is_left_alone(left: Workspace) -> None:
    record = left.ledger.latest_run("letters", "k")
    left.ledger.claim(record.id, "far-away/x/1/1", 600, lambda _: False)
    told = Told(flow_run("RUNNING"))
    assert sweep_up(left.home, os.environ, SystemClock(), told).done == []
    assert told.calls == ["completed"]


def test_without_a_server_unfinished_runs_are_named(
    left: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep"])
    said = capsys.readouterr()
    assert ended.value.code == 0
    assert said.out == ""
    assert (
        "letters k: it has no flow run and nobody works on it, but the run is running; start it again"
        in said.err
    )


def test_spent_files_are_deleted_and_run_folders_are_not(workspace: Workspace) -> None:
    workspace.service.fault("delete", "status:500", times=10)
    workspace.change("run.keep", "1s")
    workspace.run()
    workspace.service.forgive()
    left = workspace.files_left()
    assert left
    swept = sweep_up(workspace.home, os.environ, SystemClock(), NoServer())
    assert swept.done
    assert all(line.startswith("letters k: deleted file ") for line in swept.done), swept.done
    assert workspace.files_left() == []
    assert (workspace.home.folder / "runs").exists()
    assert sweep_up(workspace.home, os.environ, SystemClock(), NoServer()).done == []


def test_a_batch_that_a_cancel_did_not_reach_is_cancelled_by_a_sweep(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.faults("stuck:in_progress*1")
    stopped_after_submitting(workspace, monkeypatch)
    workspace.service.fault("cancel", "status:500")
    with pytest.raises(TransientError):
        cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())
    swept = sweep_up(workspace.home, os.environ, SystemClock(), NoServer())
    (batch,) = workspace.batches()
    assert f"letters k: cancelled batch {batch.batch_id}: open, and nobody waits for it" in swept.done[0]
    assert workspace.service.wait(batch.batch_id).status == "cancelled"
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
