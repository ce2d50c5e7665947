"""`nightmail cancel`: a run stops paying, keeps what was answered, and can go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import pytest

from configs.clock import SystemClock
from configs.errors import TransientError
from configs.progress import SilentReporter
from rigs.interrupted import Stop, stopped_after_submitting
from rigs.workspace import Workspace
from tasks import cancel
from tasks.cancel import cancel_run


def fall_asleep(*_: object) -> None:
    """Sleep as a worker's process does: it ends, and another begins."""
    raise Stop


@pytest.mark.parametrize("sleep", [cancel.sleep_until, fall_asleep])
def test_a_cancelled_run_publishes_what_was_answered_when_the_job_says_so_and_goes_on_later(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, sleep: Callable[..., None]
) -> None:
    workspace.source(20)
    workspace.change("limits.max_requests", 10)
    workspace.change("run.publish_cancelled", True)
    workspace.faults("stuck:in_progress*1")
    stopped_after_submitting(workspace, monkeypatch)
    monkeypatch.setattr(cancel, "sleep_until", sleep)
    for _ in range(100):
        with suppress(Stop):
            lines = cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())
            break
    assert any("is being cancelled" in line for line in lines)
    assert workspace.statuses() == {"succeeded": 10, "cancelled": 10}
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 20, "succeeded": 20}
    assert workspace.paid() == {"1/1": 1, "1/2": 1, "2/1": 1}


def test_a_finished_run_cannot_be_cancelled(workspace: Workspace) -> None:
    workspace.run()
    assert (
        "nothing to cancel"
        in cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())[0]
    )


@pytest.mark.parametrize("action", ["drop_reply", "status:500"])
def test_a_cancel_that_is_not_heard_says_so_and_can_be_repeated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    workspace.faults("stuck:in_progress*1")
    stopped_after_submitting(workspace, monkeypatch)
    workspace.service.fault("cancel", action, times=1)
    with pytest.raises(TransientError, match="may still cost money, run the same command again"):
        cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())
    cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())
    (batch,) = workspace.batches()
    assert workspace.service.wait(batch.batch_id).status == "cancelled"
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
