"""Batches that a run gives up: asked to end, what they answered kept, and no more waited for."""

from __future__ import annotations

import datetime
import os
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.progress import Silent
from rigs.interrupted import stopped_after_submitting
from tasks.cancel import cancel_run
from tasks.ledger import records


def test_a_run_that_gives_up_before_posting_says_so_in_every_row(works: Any) -> None:
    works.service.fault("upload", "status:500", times=1000)
    works.change("run.give_up_after", "1s")
    receipt = works.run()
    works.service.forgive()
    assert receipt["rows"] == {"total": 10, "cancelled": 10}
    assert "gave up" in works.column("llm_error_message")[0]
    assert works.paid() == {}


@pytest.mark.parametrize(
    ("where", "paid"),
    [("validating", {"1/1": 1, "1/2": 1}), ("in_progress", {"1/1": 1, "1/2": 1}), ("finalizing", {"1/1": 1})],
)
def test_a_batch_stuck_past_its_window_is_cancelled_and_only_what_it_lacks_is_posted_again(
    works: Any, fast_faults: None, monkeypatch: pytest.MonkeyPatch, where: str, paid: dict[str, int]
) -> None:
    monkeypatch.setattr(
        records, "OVERDUE_AFTER", -datetime.timedelta(hours=24) + datetime.timedelta(seconds=1)
    )
    works.faults(f"stuck:{where}*1,nonce-overdue")
    works.run()
    assert works.statuses() == {"succeeded": 10}
    assert works.paid() == paid


def test_rows_of_a_cancelled_batch_have_not_had_their_attempt(
    works: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.change("retry.max_attempts", 1)
    works.faults("stuck:in_progress*1")
    stopped_after_submitting(works, monkeypatch)
    cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
    assert works.run()["rows"] == {"total": 10, "succeeded": 10}
    assert works.paid() == {"1/1": 1, "1/2": 1}
