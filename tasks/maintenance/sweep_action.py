"""The decision what a sweep does for a run, given what the ledger and Prefect say about it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

QUIET = timedelta(minutes=10)
"""A process that starts, falls asleep or ends is between two states for seconds, an image being pulled for minutes."""


class SweepAction(StrEnum):
    """What to do for a run."""

    LEAVE = "leave"
    WAKE = "wake"  # let a worker take the flow run up again
    END = "end"  # finish a cancellation that nobody is alive to finish
    CANCEL = "cancel"  # stop paying
    REPORT = "report"  # a person has to start it again


def choose_action(flow_state: str | None, *, held: bool, still_for: timedelta, deployed: bool) -> SweepAction:
    """For an unfinished run of the ledger.

    `flow_state` is the state type of its flow run (None: there is none), `still_for` how long it has been in it, `held`
    whether a live process has the run's lease. Only a `deployed` flow run can be taken up by a worker.
    """
    if flow_state == "CANCELLED":
        # The automation is quicker, as a rule.
        return SweepAction.CANCEL if still_for >= QUIET else SweepAction.LEAVE
    if held or flow_state in ("SCHEDULED", "PAUSED") or still_for < QUIET:
        return SweepAction.LEAVE
    if flow_state in ("RUNNING", "PENDING", "CRASHED"):
        return SweepAction.WAKE if deployed else SweepAction.REPORT
    return SweepAction.END if flow_state == "CANCELLING" else SweepAction.REPORT
