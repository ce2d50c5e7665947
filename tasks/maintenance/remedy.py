"""The decision what a sweep does for a flow run: a pure function of its state, its run's lease, its signs of life and the time.

Events play no part in it: Prefect delivers them late, in another order or never, so that they may wake a sweep and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

SILENT = timedelta(seconds=200)
"""Three heartbeats (PREFECT_FLOWS_HEARTBEAT_FREQUENCY in prefect.yaml) and a little: no process says nothing for so long."""

QUIET = timedelta(minutes=10)
"""A process that was never heard of may be on its way: an image that is pulled takes minutes."""

SETTLED = timedelta(seconds=60)
"""A worker reports a killed process twice, seconds apart; the second report would crash the run that was waked in between."""

LATE = timedelta(minutes=15)
"""What was due that long ago and is still scheduled, no worker takes up."""

CRASHES = 3
CRASH_WINDOW = timedelta(hours=1)
"""So many crashes in that time, without progress in between, are no accident."""

RARELY = timedelta(minutes=30)
"""How long a run that keeps crashing is left alone between two attempts."""


class Remedy(StrEnum):
    """What to do for a flow run."""

    LEAVE = "leave"
    WAKE = "wake"  # let a worker take it up again
    END = "end"  # say that it is cancelled: nobody else is left to say so; what follows is as for any cancelled one
    CANCEL = "cancel"  # stop paying
    REPORT = "report"  # a person has to start it again
    TELL_CRASHING = "tell crashing"  # a person has to look why
    TELL_LATE = "tell late"  # a person has to start a worker


class Role(StrEnum):
    """What the flow run is to us."""

    RUN = "run"  # it has to reach its end
    SWEEP = "sweep"  # the next one does its work
    CANCELLED = "cancelled"  # the ledger says that its run was cancelled: nobody wants it to go on
    REPLACED = "replaced"  # another flow run, or a person at a terminal, has the run that it is called after


@dataclass(frozen=True)
class Signs:
    """What is known of a flow run. `state` is its state's type, None when the server does not know the flow run."""

    state: str | None
    still_for: timedelta  # since it came into that state
    silent_for: timedelta | None  # since its last heartbeat in that state; None when it has had none
    overdue: timedelta  # since it was due; negative before that
    crashes: int  # in CRASH_WINDOW, since its last progress
    held: bool  # a live process has the lease of its run
    unfinished: bool  # it has a run in the ledger, which is not over
    deployed: bool  # a worker can take it up
    role: Role = Role.RUN
    pause_over: bool = False  # we have paused it, for its account or for approval, and it is to look again


def choose_remedy(signs: Signs) -> Remedy:
    """What a sweep does. A flow run that waits for its time is left alone, however long it sleeps."""
    if signs.role is Role.SWEEP:
        return Remedy.END if _is_past_use(signs) else Remedy.LEAVE
    if signs.state == "CANCELLED":
        # The automation is quicker, as a rule.
        return Remedy.CANCEL if signs.unfinished and signs.still_for >= QUIET else Remedy.LEAVE
    if signs.state == "SCHEDULED":
        return Remedy.TELL_LATE if signs.overdue >= LATE else Remedy.LEAVE
    if signs.state == "PAUSED":
        return _for_paused(signs)
    if signs.held or not _is_lost(signs):
        return Remedy.LEAVE
    if signs.state == "CANCELLING":
        return Remedy.END
    if signs.state in ("RUNNING", "PENDING", "CRASHED"):
        return _for_lost(signs)
    return Remedy.REPORT if signs.unfinished else Remedy.LEAVE


def _for_paused(signs: Signs) -> Remedy:
    """One that a person has paused is left to them."""
    if not signs.pause_over or signs.held:
        return Remedy.LEAVE
    return Remedy.END if signs.role is Role.CANCELLED else Remedy.WAKE


def _is_lost(signs: Signs) -> bool:
    """Whether nothing works on it, as far as its state and its signs of life go."""
    if signs.state == "CRASHED":
        return signs.still_for >= SETTLED
    if signs.state in ("RUNNING", "CANCELLING") and signs.silent_for is not None:
        return signs.silent_for >= SILENT
    return signs.still_for >= QUIET


def _for_lost(signs: Signs) -> Remedy:
    # A pending one was just started again by somebody.
    if signs.role is Role.CANCELLED and signs.state != "PENDING":
        return Remedy.END
    if signs.role is Role.REPLACED or not signs.deployed:
        return Remedy.REPORT
    if signs.state == "CRASHED" and signs.crashes >= CRASHES and signs.still_for < RARELY:
        return Remedy.TELL_CRASHING
    return Remedy.WAKE


def _is_past_use(sweep: Signs) -> bool:
    """Whether nothing comes of that sweep: missed, lost or crashed."""
    if sweep.state == "SCHEDULED":
        return sweep.overdue >= QUIET
    return sweep.state in ("PENDING", "RUNNING", "CRASHED", "CANCELLING") and _is_lost(sweep)
