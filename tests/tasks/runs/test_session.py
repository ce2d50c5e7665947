"""Opening a run: whether it is the run that was begun."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from multiprocessing import active_children
from typing import Any

import pytest

from configs.errors import ConfigError, TerminalError
from rigs.clock import HandClock
from rigs.interrupted import Stop, stopped_after_submitting
from rigs.opened_run import opened
from rigs.works import double
from rigs.workspace import Workspace
from tasks import advance
from tasks import enrich as flow
from tasks.ledger.records import ChunkRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import Step
from tasks.runs import lease
from tasks.runs.session import Run


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_source_that_changed_under_an_unfinished_run_needs_a_decision(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stopped_after_submitting(workspace, monkeypatch)
    if how == "gone":
        (workspace.folder / "rows.parquet").unlink()
    else:
        workspace.source(12)
    with pytest.raises(
        ConfigError, match=r"(has changed|is gone) since this run read it; --snapshot .* --key"
    ):
        workspace.run()
    receipt = workspace.run(snapshot=True)
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1}


@pytest.mark.parametrize("ends", ["waits", "fails"])
def test_a_run_that_waits_or_ends_leaves_no_process_behind(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    workspace.change("execution", {"processes": 2})
    seen: list[str] = []

    def work_and_wait(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        seen.append(f"{run.engine_for().run(double, 21)} by {len(active_children())}")
        if ends == "fails":
            raise TerminalError("no more")
        return replace(chunk, not_before=run.clock.now() + timedelta(minutes=1))

    def stop(*_: object) -> None:
        seen.append(f"asleep with {len(active_children())}")
        raise Stop

    monkeypatch.setattr(flow, "sleep_until", stop)
    monkeypatch.setitem(advance._STEPS, Step.SUBMIT, work_and_wait)
    with pytest.raises(Stop if ends == "waits" else TerminalError):
        workspace.run()
    assert seen == ["42 by 1", *(["asleep with 0"] if ends == "waits" else [])]
    assert active_children() == []


def test_a_changed_execution_counts_when_the_run_is_resumed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[int] = []
    collected = advance._STEPS[Step.COLLECT]

    def collect(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        processes.append(run.engine_for().processes)
        return collected(run, chunk)

    monkeypatch.setitem(advance._STEPS, Step.COLLECT, collect)
    stopped_after_submitting(workspace, monkeypatch)
    workspace.change("execution", {"processes": 2})
    workspace.run()
    assert processes == [2]


def test_a_process_that_was_frozen_while_it_took_the_lease_asks_the_ledger_before_it_sends(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease has lapsed by then, and another process may have it."""
    with opened(workspace) as run:
        record, service = run.record, run.service
    clock, claim, asked = HandClock(), Ledger.claim, list[str]()

    def claim_and_freeze(*given: Any, **more: Any) -> RunLedger:
        taken = claim(*given, **more)
        clock.sleep(lease.LEASE_SECONDS)
        return taken

    monkeypatch.setattr(Ledger, "claim", claim_and_freeze)
    monkeypatch.setattr(RunLedger, "renew", lambda *_: asked.append("renew"))
    with lease.hold_lease(record, service, workspace.home, clock):
        service.guard()
    assert asked == ["renew"]
