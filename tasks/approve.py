"""Approve a run that waits for a person because of its price, and let it go on at once: by name, or by Resume in the Prefect UI."""

from __future__ import annotations

from configs.clock import Clock
from configs.home import Home
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import INACTIVE
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.other_runs import FlowRuns, Seen
from tasks.orchestration.resumed import resumed_from
from tasks.orchestration.sleep import PAUSED_FOR_BILLING, WAITS_FOR_APPROVAL
from tasks.runs.approval import missing_approval
from tasks.runs.queries import find_run, open_ledger
from tasks.runs.session import Run

_SCHEDULED, _PAUSED = "SCHEDULED", "PAUSED"


def approve_run(home: Home, clock: Clock, name: str, by: str, flow_runs: FlowRuns) -> str:
    """Record who approved the run and when, and wake its flow run if it sleeps; what was done, in a line."""
    record = find_run(open_ledger(home), name)
    if record.state in INACTIVE:
        return f"{record.title} is {record.state}; there is nothing to approve"
    if record.approved_at is not None:
        return (
            f"{record.title} was approved by {record.approved_by} at {record.approved_at:%Y-%m-%d %H:%M} UTC"
        )
    Ledger(home.ledger_url, clock).approve(record.id, by)
    seen = flow_runs.see(record.origin) if record.origin else None
    if seen is not None and seen.deployed and _waits(seen):
        flow_runs.wake(seen, "it was approved")
    return f"{record.title} is approved by {by}; it posts at its next look"


def _waits(seen: Seen) -> bool:
    return seen.kind == _SCHEDULED or (seen.kind == _PAUSED and seen.name == WAITS_FOR_APPROVAL)


def heed_resume(run: Run) -> None:
    """Approve the run, or end its pause, when a person has resumed its flow run in the state that says so. Whatever else
    started this process asks for neither."""
    flow_run = current_flow_run()
    needs_approval = missing_approval(run) is not None
    if flow_run is None or not flow_run.deployed or not (needs_approval or run.paused_until):
        return
    resumed = resumed_from(flow_run)
    if resumed == WAITS_FOR_APPROVAL and needs_approval:
        run.all_runs.approve(run.id, f"Resume in Prefect of flow run {flow_run.id}")
    elif resumed == PAUSED_FOR_BILLING:
        run.end_pause("told to go on", pauses=0)
