"""Help runs that lost their process, and remove what runs left at the providers. Doing it twice does no harm."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from configs.clock import Clock
from configs.errors import ConfigError
from configs.home import Home
from tasks.ledger.leases import is_held
from tasks.ledger.records import RunRecord
from tasks.ledger.transitions import INACTIVE
from tasks.maintenance.cleanup import clean
from tasks.maintenance.leftovers import Leftover, LeftoverKind
from tasks.maintenance.sweep_action import QUIET, SweepAction, choose_action
from tasks.orchestration.server_runs import FlowRuns, Seen
from tasks.runs.queries import open_ledger


class SweepResult:
    """Lines for people: `done` was changed, `noted` is theirs to act on."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.noted: list[str] = []


def sweep_up(home: Home, environ: Mapping[str, str], clock: Clock, flow_runs: FlowRuns) -> SweepResult:
    """Look at every unfinished run, at those that never became one, then at what the others left at the providers."""
    result = SweepResult()
    known = set()
    for run in _unfinished(home):
        _sweep_run(run, clock, flow_runs, result)
        known.add(run.origin)
    for flow_run, name in flow_runs.never_begun(clock.now() - QUIET).items():
        if flow_run not in known:
            flow_runs.wake(flow_run)
            result.done.append(
                f"{name}: its worker is gone, and no process began it; a worker takes it up again"
            )
    cleaning = clean(home, environ, clock, remove=True, folders=False)
    result.done += [_removal(leftover) for leftover in cleaning.leftovers]
    result.noted += cleaning.notes
    return result


def _unfinished(home: Home) -> Iterator[RunRecord]:
    ledger = open_ledger(home)
    runs = ledger.recent_runs(limit=sys.maxsize) if ledger else ()
    return (run for run in runs if run.state not in INACTIVE)


def _sweep_run(run: RunRecord, clock: Clock, flow_runs: FlowRuns, result: SweepResult) -> None:
    """Do for one run what its flow run's state asks for."""
    now, origin = clock.now(), run.origin or ""
    seen = flow_runs.see(origin) if origin else None
    action = choose_action(
        seen.kind if seen else None,
        held=is_held(run, now),
        still_for=now - seen.since if seen else QUIET,
        deployed=seen is not None and seen.deployed,
    )
    state = _flow_state(seen)
    if action is SweepAction.WAKE:
        flow_runs.wake(origin)
        result.done.append(f"{run.title}: {state}, but no process works on it; a worker takes it up again")
    elif action is SweepAction.END:
        flow_runs.end(origin)
        result.done.append(f"{run.title}: {state}, but no process is left to end it; it is Cancelled now")
    elif action is SweepAction.CANCEL:
        try:
            flow_runs.stop_paying(origin, now)
            result.done.append(f"{run.title}: {state}; its batches are being cancelled")
        except ConfigError as error:
            result.noted.append(f"{run.title}: {state} and its batches may cost money: {error}")
    elif action is SweepAction.REPORT:
        result.noted.append(
            f"{run.title}: is {run.state} and nobody works on it ({state}); start it again with the same job and key,"
            f" or `nightmail cancel {run.id}`"
        )


def _flow_state(seen: Seen | None) -> str:
    return f"its flow run is {seen.name} since {seen.since:%H:%M} UTC" if seen else "it has no flow run"


def _removal(leftover: Leftover) -> str:
    verb = "cancelled" if leftover.kind is LeftoverKind.BATCH else "deleted"
    return f"{leftover.run.title}: {verb} {leftover.kind} {leftover.id}: {leftover.reason}"
