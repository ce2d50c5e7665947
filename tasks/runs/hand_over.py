"""After a job's deadline: which batches are ended, so that the rest of their rows is asked by real-time calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from configs.deadline import Lane
from configs.errors import ConfigError, TerminalError
from tasks.ledger.caps import NoRoom, Refusal, SpendingCap
from tasks.ledger.records import BATCHES, BatchRecord, ChunkRecord
from tasks.providers.base import BatchStatus, ServiceBatch
from tasks.runs.budgets import lane_caps, spending_caps
from tasks.runs.estimates import answer_limit, reservation
from tasks.runs.session import Run

_ENDS_BY_ITSELF = (BatchStatus.FINISHING, BatchStatus.CANCELLING)


def hand_over(run: Run, chunk: ChunkRecord, batch: BatchRecord, seen: ServiceBatch) -> ChunkRecord:
    """The chunk of an open batch, marked to leave it if the deadline has passed and all caps carry the rows that it has not
    answered. Otherwise it stays, and each poll looks again: there may be fewer, or more room."""
    rest = batch.requests - (seen.completed or 0)
    lane = run.lane_for(replace(chunk, lane=None))
    stays = batch.lane is not None or batch.cancel_asked_at is not None or seen.status in _ENDS_BY_ITSELF
    if lane is None or stays or chunk.goes_in_lane or rest <= 0:
        return chunk
    left = run.ledger.leave_batch(chunk, _posted_in(run, batch, lane, rest), caps_for(run, chunk, lane))
    if isinstance(left, ChunkRecord):
        return left
    return chunk if chunk.lane == BATCHES else stay(run, chunk, left)


def stay(run: Run, chunk: ChunkRecord, refusal: Refusal) -> ChunkRecord:
    """The chunk as one that is left to batches after the deadline; the run's history says why."""
    if isinstance(refusal, NoRoom):
        return run.ledger.stay_in_batches(chunk, "its rows are left to batches: no room for real-time calls")
    cap = refusal.cap
    reason = (
        f"its rows are left to batches: {cap.name} is {cap.limit:,g}, of which {refusal.spent:,g} are taken or reserved, and"
        f" real-time calls for them may take {refusal.wanted:,g}"
    )
    return run.ledger.stay_in_batches(chunk, reason)


def caps_for(run: Run, chunk: ChunkRecord, lane: Lane | None) -> tuple[SpendingCap, ...]:
    """The budgets that hold for a posting now; for real-time calls the deadline's caps first.

    TerminalError for budgets that cannot be kept, such as those of a file that is wrong by now: nothing more is posted.
    """
    try:
        caps = spending_caps(run.job_of(chunk), run.clock.now(), run.estimate)
    except ConfigError as error:
        raise TerminalError(f"{run.title}: {error}") from error
    return caps if lane is None else (*lane_caps(run.job), *caps)


def _posted_in(run: Run, batch: BatchRecord, lane: Lane, rest: int) -> BatchRecord:
    """How the rest of the batch's rows would be posted."""
    tokens = -(-batch.tokens_estimate * rest // max(1, batch.requests))
    known: dict[str, Any] = {}
    if (estimated := run.estimate) is not None:
        # As of a follow-up: by the length of earlier answers only where nothing limits it.
        longest = estimated.answer_p95 if answer_limit(run.job.prompt)[1] is None else None
        known = {"margin": estimated.input_margin, "answer_p95": longest}
    reserved_tokens, reserved_usd = reservation(
        run.job, run.record.created_at, tokens, rest, lane=lane, **known
    )
    return replace(
        batch, lane=lane, requests=rest, reserved_tokens=reserved_tokens, reserved_usd=reserved_usd
    )
