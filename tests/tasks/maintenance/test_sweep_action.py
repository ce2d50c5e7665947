"""What a sweep does, per state of the flow run and of the lease."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks.maintenance.sweep_action import QUIET, SweepAction, choose_action

NOW, LONG = timedelta(seconds=5), QUIET


@pytest.mark.parametrize(
    ("flow_state", "held", "still_for", "action"),
    [
        ("RUNNING", True, LONG, SweepAction.LEAVE),  # somebody works on it
        ("RUNNING", False, NOW, SweepAction.LEAVE),  # it starts, or falls asleep
        ("RUNNING", False, LONG, SweepAction.WAKE),
        ("PENDING", False, NOW, SweepAction.LEAVE),
        ("PENDING", False, LONG, SweepAction.WAKE),
        ("CRASHED", False, NOW, SweepAction.LEAVE),  # the automation is quicker
        ("CRASHED", False, LONG, SweepAction.WAKE),
        ("CRASHED", True, LONG, SweepAction.LEAVE),
        ("CANCELLING", True, LONG, SweepAction.LEAVE),
        ("CANCELLING", False, NOW, SweepAction.LEAVE),
        ("CANCELLING", False, LONG, SweepAction.END),
        ("CANCELLED", False, NOW, SweepAction.LEAVE),
        ("CANCELLED", False, LONG, SweepAction.CANCEL),
        ("CANCELLED", True, LONG, SweepAction.CANCEL),  # by a process that nobody told
        ("SCHEDULED", False, LONG, SweepAction.LEAVE),  # it sleeps, or waits for a worker
        ("PAUSED", False, LONG, SweepAction.LEAVE),
        ("FAILED", False, LONG, SweepAction.REPORT),
        ("COMPLETED", False, LONG, SweepAction.REPORT),
        (None, False, LONG, SweepAction.REPORT),
        (None, True, LONG, SweepAction.LEAVE),
    ],
)
def test_what_a_sweep_does(
    flow_state: str | None, held: bool, still_for: timedelta, action: SweepAction
) -> None:
    assert choose_action(flow_state, held=held, still_for=still_for, deployed=True) is action


@pytest.mark.parametrize(
    ("flow_state", "action"),
    [
        ("RUNNING", SweepAction.REPORT),  # begun at a terminal: no worker can take it up
        ("CRASHED", SweepAction.REPORT),
        ("CANCELLING", SweepAction.END),
        ("CANCELLED", SweepAction.CANCEL),
    ],
)
def test_what_a_sweep_does_for_a_flow_run_without_a_deployment(flow_state: str, action: SweepAction) -> None:
    assert choose_action(flow_state, held=False, still_for=LONG, deployed=False) is action
