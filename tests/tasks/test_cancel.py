"""`nightmail cancel`: a run stops paying, keeps what was answered, and can go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.errors import TransientError
from configs.progress import Silent
from rigs.interrupted import Stop, stopped_after_submitting
from tasks import cancel
from tasks.cancel import cancel_run


def fall_asleep(*_: object) -> None:
    """Sleep as a worker's process does: it ends, and another begins."""
    raise Stop


@pytest.mark.parametrize("sleep", [cancel.sleep_until, fall_asleep])
def test_a_cancelled_run_publishes_what_was_answered_when_the_job_says_so_and_goes_on_later(
    works: Any, monkeypatch: pytest.MonkeyPatch, sleep: Callable[..., None]
) -> None:
    works.source(20)
    works.change("limits.max_requests", 10)
    works.change("run.publish_cancelled", True)
    works.faults("stuck:in_progress*1")
    stopped_after_submitting(works, monkeypatch)
    monkeypatch.setattr(cancel, "sleep_until", sleep)
    for _ in range(100):
        with suppress(Stop):
            lines = cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
            break
    assert any("is being cancelled" in line for line in lines)
    assert works.statuses() == {"succeeded": 10, "cancelled": 10}
    receipt = works.run()
    assert receipt["rows"] == {"total": 20, "succeeded": 20}
    assert works.paid() == {"1/1": 1, "1/2": 1, "2/1": 1}


def test_a_finished_run_cannot_be_cancelled(works: Any) -> None:
    works.run()
    assert "nothing to cancel" in cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())[0]


@pytest.mark.parametrize("action", ["drop_reply", "status:500"])
def test_a_cancel_that_is_not_heard_says_so_and_can_be_repeated(
    works: Any, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    works.faults("stuck:in_progress*1")
    stopped_after_submitting(works, monkeypatch)
    works.service.fault("cancel", action, times=1)
    with pytest.raises(TransientError, match="may still cost money, run the same command again"):
        cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
    cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
    (batch,) = works.batches()
    assert works.service.wait(batch.batch_id).status == "cancelled"
    assert works.run()["rows"] == {"total": 10, "succeeded": 10}
