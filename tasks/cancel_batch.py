"""Stop waiting: ask for the end of a batch, and go on without one that does not come."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from configs.errors import NotFound
from tasks.ledger.records import STOPPED, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.orchestration.step import step
from tasks.runs.session import Run
from tasks.runs.submission import adopt

_ENDED = "batch_cancelled"  # the code that rows without an answer get


@step("cancel batch", "cancel batch of chunk {chunk.number}")
def cancel_batch(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Ask the provider to end the chunk's batch. What it answered until then is still collected."""
    batch = run.ledger.batch(chunk)
    try:
        run.service.cancel(batch.batch_id or "")
    except NotFound:
        return _ended(run, chunk, "the provider does not have the batch any more")
    now = run.clock.now()
    again = now + timedelta(seconds=run.job.pace.first_seconds)
    values: dict[str, Any] = {"cancel_asked_at": now}
    if run.stopping:  # somebody's wish and not the batch's fault: it is no attempt
        values["history"] = [*map(list, batch.history), [STOPPED, now.isoformat()]]
    return run.ledger.postpone(run.lease, chunk, again, f"cancelling {batch.batch_id}", batch_values=values)


@step("abandon", "abandon chunk {chunk.number}")
def abandon(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Go on without a batch: one that was never posted, or one that does not end although it was cancelled."""
    if chunk.state is ChunkState.SUBMITTED:
        return _ended(run, chunk, "the batch did not end in time")
    if chunk.state is ChunkState.UPLOADED:
        adopted = adopt(run, chunk)
        if adopted is not None:  # end it like any other
            return adopted
    return run.ledger.move(
        run.lease,
        chunk,
        ChunkState.COLLECTED,
        "not posted: the run gives up",
        batch_values=None
        if chunk.state is ChunkState.PREPARED
        else {"ended_at": run.clock.now(), "error_code": _ENDED, "error_message": "the run gave up"},
    )


def _ended(run: Run, chunk: ChunkRecord, why: str) -> ChunkRecord:
    values = {"ended_at": run.clock.now(), "error_code": _ENDED, "error_message": why}
    return run.ledger.move(run.lease, chunk, ChunkState.ENDED, why, batch_values=values)
