"""How long a chunk waits after what kind of error, and when that ends the run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from configs.errors import BillingRefused, LostReply, TerminalError, TransientError, UnreliableReply
from configs.progress import SilentReporter
from rigs.opened_run import opened
from rigs.workspace import Workspace
from tasks.ledger.transitions import UNRELIABLE_REPLIES
from tasks.runs.faults import wait_after_fault, wait_after_refusal
from tasks.runs.session import Run


@pytest.fixture
def run(workspace: Workspace) -> Iterator[Run]:
    """A run of one prepared chunk; its polls are a minute apart."""
    workspace.change("poll", {"first_seconds": 60, "max_seconds": 600})
    with opened(workspace) as run:
        yield run


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (TransientError("HTTP 500"), 2, 3),
        (TransientError("HTTP 429", retry_after_seconds=40), 40, 60),
        (LostReply("no reply"), 60, 61),
        (UnreliableReply("another batch"), 15, 23),
    ],
)
def test_the_wait_is_as_long_as_the_error_asks_for(
    run: Run, error: TransientError, least: float, most: float
) -> None:
    before = run.clock.now()
    waiting = wait_after_fault(run, run.ledger.chunk(1), error, SilentReporter())
    assert waiting.not_before is not None
    assert before + timedelta(seconds=least) <= waiting.not_before
    assert waiting.not_before <= run.clock.now() + timedelta(seconds=most)
    assert run.ledger.chunk(1).waiting_for == str(error)
    assert run.ledger.chunk(1).faults == 1


def test_a_reply_that_cannot_be_the_answer_so_often_ends_the_run(run: Run) -> None:
    for _ in range(UNRELIABLE_REPLIES - 1):
        wait_after_fault(run, run.ledger.chunk(1), UnreliableReply("another batch"), SilentReporter())
    with pytest.raises(TerminalError, match=f"chunk 1: another batch; asked {UNRELIABLE_REPLIES} times"):
        wait_after_fault(run, run.ledger.chunk(1), UnreliableReply("another batch"), SilentReporter())


def test_what_an_account_cannot_pay_waits_for_the_pause_alone(run: Run) -> None:
    waiting = wait_after_refusal(run, run.ledger.chunk(1), BillingRefused("no money"))
    assert waiting.not_before is not None
    assert waiting.not_before <= run.clock.now()
    assert run.ledger.chunk(1).faults == 0
