"""Batches that a run gives up: asked to end, what they answered kept, and no more waited for."""

from __future__ import annotations

import datetime
import itertools
import os

import pytest

from configs.clock import SystemClock
from configs.errors import TransientError
from configs.progress import SilentReporter
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.ledger import records
from tasks.providers.openai.compatible import OpenAICompatible


def test_a_run_that_gives_up_before_posting_says_so_in_every_row(workspace: Workspace) -> None:
    workspace.service.fault("upload", "status:500", times=1000)
    workspace.change("run.give_up_after", "1s")
    receipt = workspace.run()
    workspace.service.forgive()
    assert receipt["rows"] == {"total": 10, "cancelled": 10}
    assert "gave up" in workspace.column("llm_error_message")[0]
    assert workspace.paid() == {}


@pytest.mark.parametrize(
    ("where", "paid"),
    [("validating", {"1/1": 1, "1/2": 1}), ("in_progress", {"1/1": 1, "1/2": 1}), ("finalizing", {"1/1": 1})],
)
def test_a_batch_stuck_past_its_window_is_cancelled_and_only_what_it_lacks_is_posted_again(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch, where: str, paid: dict[str, int]
) -> None:
    monkeypatch.setattr(
        records, "OVERDUE_AFTER", -datetime.timedelta(hours=24) + datetime.timedelta(seconds=1)
    )
    workspace.faults(f"stuck:{where}*1,nonce-overdue")
    workspace.run()
    assert workspace.statuses() == {"succeeded": 10}
    assert workspace.paid() == paid


def test_rows_of_a_cancelled_batch_have_not_had_their_attempt(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.change("retry.max_attempts", 1)
    workspace.faults("stuck:in_progress*1")
    stopped_after_submitting(workspace, monkeypatch)
    cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1, "1/2": 1}


def test_a_batch_that_cannot_be_cancelled_is_tried_again_after_a_wait_and_not_at_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = datetime.timedelta(seconds=0.2)
    cancel, away = OpenAICompatible.cancel, iter(range(3))

    def away_for_a_while(service: OpenAICompatible, batch_id: str) -> None:
        if next(away, None) is not None:
            raise TransientError("cancel: HTTP 503", retry_after_seconds=asked.total_seconds())
        cancel(service, batch_id)

    monkeypatch.setattr(OpenAICompatible, "cancel", away_for_a_while)
    workspace.faults("stuck:in_progress*1")
    workspace.change("run.give_up_after", "1s")
    assert workspace.run()["rows"] == {"total": 10, "cancelled": 10}
    tries = [event.at for event in workspace.ledger.history(workspace.run_id) if event.kind == "fault"]
    assert len(tries) == 3
    assert all(later - earlier >= asked for earlier, later in itertools.pairwise(sorted(tries)))
