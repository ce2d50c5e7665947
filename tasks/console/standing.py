"""How a run stands for somebody who asks which one needs a person, why, and what to press."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from configs.errors import NightmailError
from configs.job import Job
from tasks.ledger.leases import is_held
from tasks.ledger.listing import RunLine
from tasks.ledger.records import RunRecord
from tasks.ledger.transitions import INACTIVE
from tasks.runs.approval import too_dear
from tasks.runs.receipts import receipt_of
from tasks.stages.report.estimate import Estimate
from tasks.stages.report.page.summary import headline_class
from tasks.stages.report.receipt import Receipt

LATE = timedelta(minutes=10)
"""A worker that was sent for takes minutes to come: what was due before that, nobody does."""

RECENT = timedelta(days=3)
"""What finished before that has been seen: a weekend."""


@dataclass(frozen=True)
class Need:
    """What a person has to do for a run, in two or three words, and why."""

    do: str
    why: str


@dataclass(frozen=True)
class Standing:
    """A run as it stands: whether a process works on it now, and its rows once it is finished.

    `verdict` is `good`, `mixed` or `bad` of a finished run, else empty. `answered` is None before.
    """

    held: bool
    verdict: str = ""
    answered: int | None = None
    unanswered: int = 0
    need: Need | None = None


def standing_of(run: RunRecord, line: RunLine, now: datetime) -> Standing:
    """How the run stands."""
    held = is_held(run, now)
    if run.state not in INACTIVE:
        return Standing(held, need=_need_of_open(run, line, held, now))
    try:
        receipt = receipt_of(run)
    except NightmailError:  # of another version
        receipt = None
    if receipt is None:
        return Standing(held)
    return Standing(
        held,
        headline_class(receipt, stopped=False),
        receipt.rows.answered,
        receipt.rows.unanswered,
        _need_of_finished(receipt, now),
    )


def why_approval(run: RunRecord) -> str | None:
    """Why it waits for a person's approval; None when it does not."""
    if run.state in INACTIVE or run.approved_at is not None or not run.estimate:
        return None
    return too_dear(Job.model_validate(run.spec).budget, Estimate.model_validate(run.estimate))


def _need_of_open(run: RunRecord, line: RunLine, held: bool, now: datetime) -> Need | None:
    if dear := why_approval(run):
        return Need("Approve or cancel", dear)
    if run.paused_until is not None and run.paused_until > now:
        return Need("Check the account, then resume", f"paused: {run.pause_reason}")
    due = max(filter(None, (line.next_look_at, run.paused_until, run.lease_until, run.created_at)))
    if not held and due + LATE < now:
        return Need("Resume", "it is due, and no process works on it")
    return None


def _need_of_finished(receipt: Receipt, now: datetime) -> Need | None:
    """Rows without an answer need nobody while they are as few as the job allows."""
    if not receipt.is_over_budget or receipt.finished_at + RECENT < now:
        return None
    why = f"{receipt.rows.unanswered:,} of {receipt.rows.total:,} rows have no answer, more than run.error_budget"
    return Need("Retry" if receipt.retryable else "Look at its errors", why)
