"""`nightmail status` says when the last sweep was, and warns where stuck runs would stay stuck."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest

from configs.clock import SystemClock
from flows.cli.main import main
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace
from tasks.ledger.store import Ledger
from tasks.ledger.sweeps import Sweeps
from tasks.maintenance.sweep import sweep_up
from tasks.maintenance.sweep_age import describe_last_sweep
from tasks.orchestration.other_runs import NoServer


class After:
    """The clock of somebody who looks that much later."""

    def __init__(self, **later: int) -> None:
        self.later = timedelta(**later)

    def now(self) -> datetime:
        return SystemClock().now() + self.later

    def sleep(self, seconds: float) -> None: ...


def test_where_nobody_sweeps_and_nothing_needs_it_nothing_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describe_last_sweep(workspace.home, SystemClock()) is None
    assert not (workspace.home.folder / "ledger.db").exists()
    workspace.faults("stuck:in_progress")
    stopped_after_submitting(workspace, monkeypatch)
    assert describe_last_sweep(workspace.home, SystemClock()) is None, "it was begun at a terminal"


def test_a_run_of_a_deployment_that_nobody_looks_after_is_a_warning(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.faults("stuck:in_progress")
    stopped_after_submitting(workspace, monkeypatch)
    record = workspace.ledger.latest_run("letters", "k")
    run = Ledger(workspace.home.ledger_url, SystemClock()).claim(record.id, "x", 60, lambda _: True)
    run.update_run(origin="f-1")
    said = describe_last_sweep(workspace.home, SystemClock())
    assert said is not None
    assert said.startswith("warning: no sweep was ever completed, and 1 run is unfinished; ")

    sweep_up(workspace.home, os.environ, SystemClock(), NoServer())
    said = describe_last_sweep(workspace.home, After(minutes=29))
    assert said is not None
    assert said.startswith("last sweep completed 29 min ago (")
    said = describe_last_sweep(workspace.home, After(minutes=181))
    assert said is not None
    assert said.startswith("warning: last sweep completed 3 h ago (")
    assert said.endswith("or run `nightmail sweep --every 10m`")


def test_an_old_sweep_is_no_warning_when_everything_is_finished(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run()
    sweep_up(workspace.home, os.environ, SystemClock(), NoServer())
    assert Sweeps(workspace.home.ledger_url, SystemClock()).last_completed() is not None
    said = describe_last_sweep(workspace.home, After(days=2))
    assert said is not None
    assert said.startswith("last sweep completed 48 h ago (")
    with pytest.raises(SystemExit):
        main(["status"])
    shown = capsys.readouterr()
    assert shown.err.startswith("nightmail: last sweep completed 0 min ago (")
    assert "sweep" not in shown.out
