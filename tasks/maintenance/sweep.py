"""What is stuck goes on, what is cancelled stops costing, what is spent is deleted. Doing it twice does no harm."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from configs.clock import Clock
from configs.errors import ConfigError
from configs.home import Home
from tasks.ledger.leases import owner_is_dead
from tasks.ledger.records import RunRecord
from tasks.ledger.transitions import OVER
from tasks.maintenance.cleanup import clean
from tasks.maintenance.leftovers import Leftover
from tasks.maintenance.remedy import QUIET, Remedy, remedy
from tasks.orchestration.server_runs import FlowRuns
from tasks.runs.queries import open_ledger


class SweepResult:
    """`done` was changed, a line each; `noted` is for a person to know."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.noted: list[str] = []


def sweep_up(home: Home, environ: Mapping[str, str], clock: Clock, flow_runs: FlowRuns) -> SweepResult:
    """Look at every unfinished run, at those that never became one, then at what the others left at the providers."""
    swept = SweepResult()
    known = set()
    for run in _unfinished(home):
        _help(run, clock, flow_runs, swept)
        known.add(run.origin)
    for flow_run, name in flow_runs.never_begun(clock.now() - QUIET).items():
        if flow_run not in known:
            flow_runs.wake(flow_run)
            swept.done.append(
                f"{name}: its worker is gone, and no process began it; a worker takes it up again"
            )
    cleaning = clean(home, environ, clock, remove=True, folders=False)
    swept.done += [_said(item) for item in cleaning.leftovers]
    swept.noted += cleaning.notes
    return swept


def _unfinished(home: Home) -> Iterator[RunRecord]:
    ledger = open_ledger(home)
    runs = ledger.recent_runs(limit=sys.maxsize) if ledger else ()
    return (run for run in runs if run.state not in OVER)


def _help(run: RunRecord, clock: Clock, flow_runs: FlowRuns, swept: SweepResult) -> None:
    origin = run.origin or ""
    seen = flow_runs.see(origin) if origin else None
    held = (
        run.lease_until is not None
        and run.lease_until > clock.now()
        and not owner_is_dead(run.lease_owner or "")
    )
    still_for = clock.now() - seen.since if seen else QUIET
    what = remedy(
        seen.kind if seen else None,
        held=held,
        still_for=still_for,
        deployed=seen is not None and seen.deployed,
    )
    where = f"its flow run is {seen.name} since {seen.since:%H:%M} UTC" if seen else "it has no flow run"
    if what is Remedy.WAKE:
        flow_runs.wake(origin)
        swept.done.append(f"{run.title}: {where}, but no process works on it; a worker takes it up again")
    elif what is Remedy.END:
        flow_runs.end(origin)
        swept.done.append(f"{run.title}: {where}, but no process is left to end it; it is Cancelled now")
    elif what is Remedy.CANCEL:
        try:
            flow_runs.stop_paying(origin, clock.now())
            swept.done.append(f"{run.title}: {where}; its batches are being cancelled")
        except ConfigError as error:
            swept.noted.append(f"{run.title}: {where} and its batches may cost money: {error}")
    elif what is Remedy.REPORT:
        swept.noted.append(
            f"{run.title}: is {run.state} and nobody works on it ({where}); start it again with the same job and key,"
            f" or `nightmail cancel {run.id}`"
        )


def _said(item: Leftover) -> str:
    verb = "cancelled" if item.kind == "batch" else "deleted"
    return f"{item.run.title}: {verb} {item.kind} {item.id}: {item.reason}"
