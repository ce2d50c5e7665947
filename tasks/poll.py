"""Ask the provider once how a batch is, and write it down."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tasks.ledger.records import BatchRecord, ChunkRecord, describe_error
from tasks.ledger.transitions import QUEUE_FULL, ChunkState, poll_delay
from tasks.orchestration.step import step
from tasks.providers.base import BatchStatus, ServiceBatch
from tasks.runs.holding_back import stated_limit
from tasks.runs.session import Run
from tasks.runs.submission import known_batch

# Some services say completed a little before they name the result files.
_FILES_MAY_FOLLOW = timedelta(minutes=10)
# Before a batch that would be lost whole expires: a night in which somebody may look.
_LOSS_IS_NEAR = timedelta(hours=12)


@step("poll", "poll chunk {chunk.number}")
def poll(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Retrieve the chunk's batch: ended, or when to look again."""
    batch = run.ledger.batch(chunk)
    seen = known_batch(run, chunk, batch.batch_id or "")
    now = run.clock.now()
    values = _values(batch, seen, now)
    if seen.status.ended and not _files_may_follow(seen, values["history"], now):
        if seen.error_code == QUEUE_FULL:
            run.ledger.learn_quota(batch, stated_limit(seen.error_message or ""))
        values |= {
            "ended_at": now - _ended_ago(run, seen),
            "error_code": seen.error_code,
            "error_message": seen.error_message,
            "error_line": _line_of(batch, seen),
        }
        return run.ledger.move(chunk, ChunkState.ENDED, _end(seen), batch_values=values)
    wait = poll_delay(batch.polls + 1, run.job.pace.first_seconds, run.job.pace.max_seconds)
    reason, at_risk_since = _state(seen), None
    there = run.service.clock.now() or now
    if run.service.limits.all_or_nothing and seen.expires_at and there > seen.expires_at - _LOSS_IS_NEAR:
        at_risk_since = chunk.at_risk_since or now
        reason = (
            f"at risk: {reason}; if it is not done by {seen.expires_at:%Y-%m-%d %H:%M} UTC the provider drops it"
            " with all it has answered, and its rows are posted again; smaller batches"
            " (limits.max_requests, in another run) lose less"
        )
    return run.ledger.postpone(chunk, now + wait, reason, batch_values=values, at_risk_since=at_risk_since)


def _ended_ago(run: Run, seen: ServiceBatch) -> timedelta:
    """How long ago the batch ended by its service's own clock; nothing where it does not say."""
    there = run.service.clock.now()
    if there is None or seen.ended_at is None:
        return timedelta(0)
    return max(timedelta(0), there - seen.ended_at)


def _values(batch: BatchRecord, seen: ServiceBatch, now: datetime) -> dict[str, Any]:
    history = [list(entry) for entry in batch.history]
    if not history or history[-1][0] != seen.status:
        history.append([seen.status, now.isoformat()])
    return {
        "status": seen.status,
        "history": history,
        "polls": batch.polls + 1,
        "total": seen.total,
        "completed": seen.completed,
        "failed": seen.failed,
        "result_files": list(seen.result_files),
        "expires_at": seen.expires_at,
    }


def _files_may_follow(seen: ServiceBatch, history: list[list[str]], now: datetime) -> bool:
    if seen.status is not BatchStatus.COMPLETED or seen.result_files:
        return False
    since = now - datetime.fromisoformat(history[-1][1])
    return timedelta(0) <= since < _FILES_MAY_FOLLOW  # a clock that was set back must not make it wait


def _line_of(batch: BatchRecord, seen: ServiceBatch) -> int | None:
    """The line at fault; a number beyond the posted file is none of its lines."""
    line = seen.error_line
    return line if line is not None and 0 <= line <= batch.requests else None


def _state(seen: ServiceBatch) -> str:
    counted = f", {seen.completed:,} of {seen.total:,}" if seen.completed is not None and seen.total else ""
    return f"batch {seen.id}: {seen.status}{counted}"


def _end(seen: ServiceBatch) -> str:
    error = describe_error(seen.error_message, seen.error_line) or seen.error_code
    reason = f": {error}" if seen.error_code else ""
    return f"{seen.id} {seen.status}{reason}"
