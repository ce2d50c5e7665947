"""After a job's deadline: which batches are ended, so that the rest of their rows is asked by real-time calls."""

from __future__ import annotations

from dataclasses import replace

from configs.deadline import Lane
from configs.errors import ConfigError, TerminalError
from configs.job import Job
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


def reserved(
    run: Run, job: Job, tokens: int, requests: int, lane: Lane | None, *, is_first: bool
) -> tuple[int | None, float | None]:
    """(tokens, USD) that a posting of so many requests may take; `is_first` is whether their rows were not asked before."""
    estimated = run.estimate
    if estimated is None:
        return reservation(job, run.record.created_at, tokens, requests, lane=lane)
    # Rows that are asked again, as those that were truncated, may have longer answers than others.
    is_like_others = is_first or answer_limit(job.prompt)[1] is None
    p95 = estimated.answer_p95 if is_like_others else None
    return reservation(job, run.record.created_at, tokens, requests, estimated.input_margin, p95, lane)


def _posted_in(run: Run, batch: BatchRecord, lane: Lane, rest: int) -> BatchRecord:
    """How the rest of the batch's rows would be posted."""
    tokens = -(-batch.tokens_estimate * rest // max(1, batch.requests))
    reserved_tokens, reserved_usd = reserved(run, run.job, tokens, rest, lane, is_first=False)
    return replace(
        batch, lane=lane, requests=rest, reserved_tokens=reserved_tokens, reserved_usd=reserved_usd
    )
