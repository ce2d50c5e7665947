"""What a sweep does, per state of the flow run and of the lease."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks.maintenance.remedy import QUIET, Remedy, remedy

NOW, LONG = timedelta(seconds=5), QUIET


@pytest.mark.parametrize(
    ("flow_state", "held", "still_for", "what"),
    [
        ("RUNNING", True, LONG, Remedy.LEAVE),  # somebody works on it
        ("RUNNING", False, NOW, Remedy.LEAVE),  # it starts, or falls asleep
        ("RUNNING", False, LONG, Remedy.WAKE),
        ("PENDING", False, NOW, Remedy.LEAVE),
        ("PENDING", False, LONG, Remedy.WAKE),
        ("CRASHED", False, NOW, Remedy.LEAVE),  # the automation is quicker
        ("CRASHED", False, LONG, Remedy.WAKE),
        ("CRASHED", True, LONG, Remedy.LEAVE),
        ("CANCELLING", True, LONG, Remedy.LEAVE),
        ("CANCELLING", False, NOW, Remedy.LEAVE),
        ("CANCELLING", False, LONG, Remedy.END),
        ("CANCELLED", False, NOW, Remedy.LEAVE),
        ("CANCELLED", False, LONG, Remedy.CANCEL),
        ("CANCELLED", True, LONG, Remedy.CANCEL),  # by a process that nobody told
        ("SCHEDULED", False, LONG, Remedy.LEAVE),  # it sleeps, or waits for a worker
        ("PAUSED", False, LONG, Remedy.LEAVE),
        ("FAILED", False, LONG, Remedy.REPORT),
        ("COMPLETED", False, LONG, Remedy.REPORT),
        (None, False, LONG, Remedy.REPORT),
        (None, True, LONG, Remedy.LEAVE),
    ],
)
def test_what_a_sweep_does(flow_state: str | None, held: bool, still_for: timedelta, what: Remedy) -> None:
    assert remedy(flow_state, held=held, still_for=still_for, deployed=True) is what


@pytest.mark.parametrize(
    ("flow_state", "what"),
    [
        ("RUNNING", Remedy.REPORT),  # begun at a terminal: no worker can take it up
        ("CRASHED", Remedy.REPORT),
        ("CANCELLING", Remedy.END),
        ("CANCELLED", Remedy.CANCEL),
    ],
)
def test_what_a_sweep_does_for_a_flow_run_without_a_deployment(flow_state: str, what: Remedy) -> None:
    assert remedy(flow_state, held=False, still_for=LONG, deployed=False) is what
