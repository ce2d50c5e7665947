"""Look at a batch once and write down what it says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState, poll_delay
from tasks.orchestration.step import step
from tasks.providers.base import BatchStatus, ServiceBatch
from tasks.runs.session import Run

# Some services say completed a little before they name the result files.
_FILES_MAY_FOLLOW = timedelta(minutes=10)
# Before a batch that would be lost whole expires: a night in which somebody may look.
_LOSS_IS_NEAR = timedelta(hours=12)
AT_RISK = "at risk: "


@step("poll", "poll chunk {chunk.number}")
def poll(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Retrieve the chunk's batch: ended, or when to look again."""
    batch = run.ledger.batch(chunk)
    seen = run.service.retrieve(batch.batch_id or "")
    now = run.clock.now()
    values = _values(batch, seen, now)
    if seen.status.ended and not _files_may_follow(seen, values["history"], now):
        values |= {"ended_at": now, "error_code": seen.error_code, "error_message": _message(seen)}
        detail = f"{seen.id} {seen.status}" + (f": {_message(seen)}" if seen.error_code else "")
        return run.ledger.move(run.lease, chunk, ChunkState.ENDED, detail, batch_values=values)
    wait = poll_delay(batch.polls + 1, run.job.pace.first_seconds, run.job.pace.max_seconds)
    counted = f", {seen.completed:,} of {seen.total:,}" if seen.completed is not None and seen.total else ""
    reason = f"batch {seen.id}: {seen.status}{counted}"
    if run.service.limits.all_or_nothing and seen.expires_at and now > seen.expires_at - _LOSS_IS_NEAR:
        reason = (
            f"{AT_RISK}{reason}; if it is not done by {seen.expires_at:%Y-%m-%d %H:%M} UTC the provider drops it"
            " with all it has answered, and its rows are posted again; smaller batches"
            " (limits.max_requests, in another run) lose less"
        )
    return run.ledger.postpone(run.lease, chunk, now + wait, reason, batch_values=values)


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
    return now - datetime.fromisoformat(history[-1][1]) < _FILES_MAY_FOLLOW


def _message(seen: ServiceBatch) -> str | None:
    if seen.error_line is None:
        return seen.error_message
    return f"line {seen.error_line}: {seen.error_message}"
