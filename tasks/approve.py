"""Approve a run that waits for a person because of its price, and let it go on at once."""

from __future__ import annotations

from configs.clock import Clock
from configs.home import Home
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import INACTIVE
from tasks.orchestration.server_runs import FlowRuns
from tasks.runs.queries import find_run, open_ledger

_SCHEDULED = "SCHEDULED"


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
    if seen is not None and seen.deployed and seen.kind == _SCHEDULED:
        flow_runs.wake(seen, "it was approved")
    return f"{record.title} is approved by {by}; it posts at its next look"
