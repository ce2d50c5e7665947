"""A sweep over the ledger, with what Prefect would say given; the server itself is in test_server_runs.py."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from configs.clock import SystemClock
from configs.errors import TransientError
from configs.progress import SilentReporter
from flows.cli.main import main
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.maintenance.sweep import sweep_up
from tasks.orchestration.server_runs import NoServer, Seen


class Told:
    """Flow runs that are all in one state, for an hour; keeps what it was told to do."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.calls: list[str] = []

    def never_begun(self, before: datetime) -> dict[str, str]:
        return {"f-1": "letters k", "f-2": "letters l"} if self.kind == "PENDING" else {}

    def see(self, origin: str) -> Seen | None:
        return Seen(self.kind, self.kind.title(), datetime.now(UTC) - timedelta(hours=1), deployed=True)

    def wake(self, origin: str) -> None:
        self.calls.append(f"wake {origin}")

    def end(self, origin: str) -> None:
        self.calls.append(f"end {origin}")

    def stop_paying(self, origin: str, now: datetime) -> None:
        self.calls.append(f"stop paying {origin}")


@pytest.fixture
def left(workspace: Workspace) -> Workspace:
    """A run of the flow run `f-1` that nobody works on: its process died while its batch was out."""
    from configs.clock import SystemClock
    from configs.request import RunRequest
    from tasks.advance import advance
    from tasks.prepare import prepare
    from tasks.providers.registry import connect
    from tasks.runs.request import resolve_request
    from tasks.runs.session import open_run

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
    told = Told(kind)
    swept = sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == calls
    assert len(swept.done) == len(calls)
    if said:
        assert swept.done[0].startswith("letters k: ")
        assert swept.done[0].endswith(said)


def test_a_flow_run_that_lost_its_worker_before_it_began_is_waked_and_none_twice(left: Workspace) -> None:
    told = Told("PENDING")
    swept = sweep_up(left.home, os.environ, SystemClock(), told)
    assert told.calls == ["wake f-1", "wake f-2"]
    assert (
        swept.done[1] == "letters l: its worker is gone, and no process began it; a worker takes it up again"
    )


def test_a_run_that_goes_on_at_a_terminal_is_not_taken_for_the_flow_run_it_was_cancelled_with(
    left: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import enrich

    class Stop(Exception): ...

    def stop(*_: object) -> None:
        raise Stop

    cancel_run(left.home, os.environ, SystemClock(), "letters/k", _silent())
    monkeypatch.setattr(enrich, "sleep_until", stop)
    with pytest.raises(Stop):
        left.run()
    told = Told("CANCELLED")
    assert sweep_up(left.home, os.environ, SystemClock(), told).done == []
    assert told.calls == []


def test_a_run_that_somebody_holds_is_left_alone(left: Workspace) -> None:
    record = left.ledger.latest_run("letters", "k")
    left.ledger.claim(record.id, "far-away/x/1/1", 600, lambda _: False)
    told = Told("RUNNING")
    assert sweep_up(left.home, os.environ, SystemClock(), told).done == []
    assert told.calls == []


def test_without_a_server_unfinished_runs_are_named(
    left: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep"])
    said = capsys.readouterr()
    assert ended.value.code == 0
    assert said.out == ""
    assert "letters k: is running and nobody works on it" in said.err


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
