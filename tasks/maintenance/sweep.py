"""Help runs that lost their process, and remove what runs left at the providers. Doing it twice does no harm."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from configs.clock import Clock
from configs.errors import ConfigError
from configs.home import Home
from tasks.ledger import database
from tasks.ledger.leases import current_owner, describe_owner, is_held, owner_is_dead
from tasks.ledger.records import RunRecord
from tasks.ledger.sweeps import Sweeps
from tasks.ledger.transitions import INACTIVE, RunState
from tasks.maintenance.cleanup import clean
from tasks.maintenance.leftovers import Leftover, LeftoverKind
from tasks.maintenance.remedy import CRASH_WINDOW, QUIET, Remedy, Role, Signs, choose_remedy
from tasks.orchestration.other_runs import FlowRuns, Seen
from tasks.orchestration.sleep import PAUSED_FOR_BILLING, WAITS_FOR_APPROVAL
from tasks.runs.queries import open_ledger

_LEASE_SECONDS = 900.0
"""Longer than a sweep takes. One that takes longer still is joined by another, which does no harm."""

_LOOKS_AFTER = timedelta(hours=1)
"""How long a run that waits for approval is left alone."""


class SweepResult:
    """Lines for people: `done` was changed, `noted` is theirs to act on."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.noted: list[str] = []


def sweep_up(home: Home, environ: Mapping[str, str], clock: Clock, flow_runs: FlowRuns) -> SweepResult:
    """Look at every unfinished run and every flow run, then at what the others left at the providers.

    Returns at once, and says so, while another sweep is at it.
    """
    result = SweepResult()
    with _alone(home, clock) as sweeps:
        if isinstance(sweeps, str):
            result.noted.append(
                f"sweep: {describe_owner(sweeps)} is sweeping at this moment; nothing was done here"
            )
            return result
        _Sweep(home, clock, flow_runs, result).help_runs()
        cleaning = clean(home, environ, clock, remove=True, folders=False)
        result.done += [_removal(leftover) for leftover in cleaning.leftovers]
        result.noted += cleaning.notes
        if sweeps is not None:
            sweeps.complete()
        flow_runs.completed(clock.now())
    return result


@contextmanager
def _alone(home: Home, clock: Clock) -> Iterator[Sweeps | str | None]:
    """The record of sweeps, for this one alone; or who has it. None where there is no ledger yet."""
    if not database.exists(home.ledger_url):
        yield None
        return
    sweeps, me = Sweeps(home.ledger_url, clock), current_owner()
    holder = sweeps.begin(me, _LEASE_SECONDS, owner_is_dead)
    try:
        yield holder or sweeps
    finally:
        if holder is None:
            sweeps.release(me)


class _Sweep:
    """One look at all runs."""

    def __init__(self, home: Home, clock: Clock, flow_runs: FlowRuns, result: SweepResult) -> None:
        self._now = clock.now()
        self._flow_runs = flow_runs
        self._result = result
        self._ledger = open_ledger(home)
        self._runs = self._ledger.recent_runs(limit=sys.maxsize) if self._ledger else ()

    def help_runs(self) -> None:
        """The runs of the ledger that are not over, then the flow runs that have none of these."""
        unfinished = [run for run in self._runs if run.state not in INACTIVE]
        others = {seen.id: seen for seen in self._flow_runs.unsettled(self._now, self._now - QUIET)}
        for run in unfinished:
            seen = others.pop(run.origin or "", None)
            if seen is None and run.origin:
                seen = self._flow_runs.see(run.origin)
            self._help(seen, run)
        for seen in others.values():
            self._help(seen, None)

    def _help(self, seen: Seen | None, run: RunRecord | None) -> None:
        remedy = choose_remedy(self._signs(seen, run))
        title = run.title if run else seen.title if seen else ""
        state = f"{title}: {_flow_state(seen)}"
        if remedy is Remedy.REPORT:
            self._result.noted.append(_nobody_works_on(run, state))
        elif seen is None or remedy is Remedy.LEAVE:
            return
        elif remedy is Remedy.CANCEL:
            self._stop_paying(seen, state)
        elif remedy is Remedy.WAKE:
            if self._flow_runs.wake(seen):
                self._result.done.append(f"{state}, but no process works on it; a worker takes it up again")
        elif remedy is Remedy.END:
            if self._flow_runs.end(seen):
                self._result.done.append(f"{state}, but no process is left to end it; it is Cancelled now")
        elif remedy is Remedy.TELL_CRASHING:
            problem = f"{state} and crashed {len(seen.crashed)} times; memory, mostly: see its log"
            self._tell("keeps-crashing", seen, problem)
        else:
            self._tell("late", seen, f"{state} and no worker takes it up; start one, or give it room")

    def _signs(self, seen: Seen | None, run: RunRecord | None) -> Signs:
        held = run is not None and is_held(run, self._now)
        if seen is None:
            return Signs(None, QUIET, None, timedelta(0), 0, held, run is not None, deployed=False)
        role = _role(seen, run, self._runs)
        return Signs(
            state=seen.kind,
            still_for=self._now - seen.since,
            silent_for=self._now - seen.heard if seen.heard else None,
            overdue=self._now - seen.due if seen.due else timedelta(0),
            crashes=self._crashes(seen, run),
            held=held,
            unfinished=run is not None,
            deployed=seen.deployed,
            role=role,
            pause_over=_is_pause_over(seen, run, role, self._now),
        )

    def _crashes(self, seen: Seen, run: RunRecord | None) -> int:
        """How often it crashed of late, without progress in between."""
        since = self._now - CRASH_WINDOW
        if seen.crashed and run is not None and self._ledger is not None:
            since = max([since, *(event.at for event in self._ledger.history(run.id, limit=1))])
        return sum(at > since for at in seen.crashed)

    def _tell(self, problem: str, seen: Seen, message: str) -> None:
        self._flow_runs.tell(problem, seen, message)
        self._result.noted.append(message)

    def _stop_paying(self, seen: Seen, state: str) -> None:
        try:
            self._flow_runs.stop_paying(seen.id, self._now)
            self._result.done.append(f"{state}; its batches are being cancelled")
        except ConfigError as error:
            self._result.noted.append(f"{state} and its batches may cost money: {error}")


def _is_pause_over(seen: Seen, run: RunRecord | None, role: Role, now: datetime) -> bool:
    """Whether a flow run that we have paused is to look again. That approves nothing: what waits for approval looks now and
    then whether it has been approved elsewhere, has waited for too long, or has another job file."""
    if seen.name == PAUSED_FOR_BILLING:
        return not (run and run.paused_until and now < run.paused_until)
    if seen.name == WAITS_FOR_APPROVAL:
        is_settled = role is Role.CANCELLED or (run is not None and run.approved_at is not None)
        return is_settled or now - seen.since >= _LOOKS_AFTER
    return False


def _role(seen: Seen, run: RunRecord | None, runs: Collection[RunRecord]) -> Role:
    """What a flow run is to us, by the runs of the ledger; `run` is its own, when that is not over."""
    if seen.flow == "sweep":
        return Role.SWEEP
    if run is not None or seen.flow != "enrich":
        return Role.RUN
    begun = [known for known in runs if known.origin == seen.id]
    if begun:
        return Role.CANCELLED if begun[0].state is RunState.CANCELLED else Role.RUN
    return Role.REPLACED if any(seen.title == f"{known.job} {known.key}" for known in runs) else Role.RUN


def _nobody_works_on(run: RunRecord | None, state: str) -> str:
    if run is None:
        return f"{state} and nobody works on it; start it again if it is still needed"
    return (
        f"{state} and nobody works on it, but the run is {run.state}; start it again with the same job and key, or"
        f" `nightmail cancel {run.id}`"
    )


def _flow_state(seen: Seen | None) -> str:
    return f"its flow run is {seen.name} since {seen.since:%H:%M} UTC" if seen else "it has no flow run"


def _removal(leftover: Leftover) -> str:
    verb = "cancelled" if leftover.kind is LeftoverKind.BATCH else "deleted"
    return f"{leftover.run.title}: {verb} {leftover.kind} {leftover.id}: {leftover.reason}"
