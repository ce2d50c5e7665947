"""Cancel a chunk's batch, and go on without one that does not end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from configs.errors import NotFound
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import BATCH_CANCELLED, ChunkState
from tasks.orchestration.step import step
from tasks.runs.session import Run
from tasks.runs.step_lines import chunk_line
from tasks.runs.submission import adopt, begun_posting


@step("cancel batch", "cancel batch of chunk {chunk.number}", chunk_line)
def cancel_batch(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Ask the provider to end the chunk's batch. What it answered until then is still collected."""
    batch = run.ledger.batch(chunk)
    service = run.service_of(batch)
    try:
        service.cancel(batch.batch_id or "")
    except NotFound:
        return _ended(run, chunk, "the provider does not have the batch any more")
    now = run.clock.now()
    next_look = now + timedelta(seconds=run.pace_of(batch).first_seconds)
    values: dict[str, Any] = {"cancel_asked_at": service.clock.now() or now}
    # Somebody's wish, or the deadline's, and not the batch's fault: it is no attempt.
    if run.stopping or (chunk.goes_in_lane and not run.giving_up):
        values["stopped_at"] = now
    return run.ledger.postpone(chunk, next_look, f"cancelling {batch.batch_id}", batch_values=values)


@step("abandon", "abandon chunk {chunk.number}", chunk_line)
def abandon(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Go on without a batch: one that was never posted, or one that does not end although it was cancelled."""
    if chunk.state is ChunkState.SUBMITTED:
        return _ended(run, chunk, "the batch did not end in time")
    begun = begun_posting(run, chunk)
    if begun is not None:
        chunk = begun
        adopted = adopt(run, chunk)
        if adopted is not None:  # end it like any other
            return adopted
    # A prepared chunk may have earlier batches, but none of its current posting.
    reason = "the run gave up" if run.giving_up else "the deadline had passed"
    values = None if chunk.state is ChunkState.PREPARED else _end(run, reason)
    return run.ledger.move(chunk, ChunkState.COLLECTED, f"not posted: {reason}", batch_values=values)


def _ended(run: Run, chunk: ChunkRecord, reason: str) -> ChunkRecord:
    return run.ledger.move(chunk, ChunkState.ENDED, reason, batch_values=_end(run, reason))


def _end(run: Run, reason: str) -> dict[str, Any]:
    return {"ended_at": run.clock.now(), "error_code": BATCH_CANCELLED, "error_message": reason}
