"""What a step of a run has done: a line for people, and fields for collectors of logs (`configs.json_log.FIELDS`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.runs.receipts import receipt_of
from tasks.runs.session import Run
from tasks.stages.report.formatting import count_with_noun, duration
from tasks.stages.report.receipt_text import outcome_text


@dataclass(frozen=True)
class StepLine:
    """The line, and those fields that are known."""

    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Several(Protocol):
    """Batches that one step looks at."""

    @property
    def count(self) -> int: ...


def prepared_line(text: str | None, run: Run, *_: Any) -> StepLine | None:
    """Of preparing a run; None when nothing was left to do."""
    return StepLine(text, {"rows": run.ledger.rows()}) if text else None


def looked_line(
    looked_at: Mapping[int, tuple[ChunkRecord, BatchRecord]], _: Run, several: Several
) -> StepLine:
    """Of a look at many batches in the provider's list."""
    listed = count_with_noun(len(looked_at), "batch", "batches")
    return StepLine(f"looked at {listed} of {several.count:,} in the provider's list")


def chunk_line(after: ChunkRecord, run: Run, before: ChunkRecord) -> StepLine:
    """Of a step that took a chunk from `before` to `after`."""
    batch = next(reversed(run.ledger.batches_of(after)), None)
    if after.state is ChunkState.PREPARED and after.attempt == before.attempt:
        batch = None  # the one before, if any, has nothing to do with it
    fields = {
        "chunk": after.number,
        "batch": batch.batch_id if batch else None,
        "rows": after.rows,
        "cost_usd": batch.cost_usd if batch else None,
    }
    return StepLine(_chunk_text(run, before, after, batch), fields)


def published_line(_: None, run: Run) -> StepLine:
    """Of publishing a run."""
    receipt = receipt_of(run.ledger.read_run())
    if receipt is None:
        return StepLine(f"published what is answered so far in {run.job.output.path}")
    return StepLine(
        f"published {outcome_text(receipt)}", {"rows": receipt.rows.total, "cost_usd": receipt.cost_usd}
    )


def _chunk_text(run: Run, before: ChunkRecord, after: ChunkRecord, batch: BatchRecord | None) -> str:
    if after.state is ChunkState.MERGED:
        return _merged(after, batch)
    if after.state is ChunkState.PREPARED and after.attempt > before.attempt:
        rows = count_with_noun(after.rows, "row", "rows")
        return f"without an answer: {after.requests:,} of {rows}, which attempt {after.attempt} asks again"
    if batch is None:
        return _waiting(run, after) or "nothing to post"
    if after.state is ChunkState.SUBMITTED and before.state is not ChunkState.SUBMITTED:
        verb = "found again" if batch.adopted else "posted"
        size = f"{count_with_noun(batch.requests, 'row', 'rows')} in {batch.bytes:,} bytes"
        return f"{verb} {batch.noun} {batch.batch_id}: {size}, at {batch.account}"
    if after.state is ChunkState.ENDED:
        return _ended(batch)
    if after.state is ChunkState.COLLECTED:
        files = count_with_noun(len(batch.result_files), "result file", "result files")
        return f"fetched {files} of {batch.noun} {batch.batch_id}" if batch.batch_id else _why_ended(batch)
    return _waiting(run, after) or f"{batch.noun} is posted again: {_why_ended(batch)}"


def _waiting(run: Run, chunk: ChunkRecord) -> str:
    if not chunk.waiting_for:
        return ""
    return f"{chunk.waiting_for}{_next_look(run, chunk.not_before)}"


def _next_look(run: Run, moment: datetime | None) -> str:
    return f"; next look {moment.astimezone(run.job.zone):%H:%M}" if moment else ""


def _ended(batch: BatchRecord) -> str:
    seconds = (
        (batch.ended_at - batch.submitted_at).total_seconds() if batch.ended_at and batch.submitted_at else 0
    )
    rows = count_with_noun(batch.requests, "row", "rows")
    counted = f", {batch.completed:,} of {rows}" if batch.completed is not None else ""
    why = f": {batch.error_text or batch.error_code}" if batch.error_code else ""
    return f"{batch.noun} {batch.batch_id} {batch.status} after {duration(max(0, seconds))}{counted}{why}"


def _why_ended(batch: BatchRecord) -> str:
    return batch.error_text or batch.error_code or batch.status or "its reply was lost"


def _merged(chunk: ChunkRecord, batch: BatchRecord | None) -> str:
    by_status = (chunk.stats or {}).get("by_status", {})
    counts = ", ".join(f"{count:,} {status}" for status, count in by_status.items() if count)
    text = f"merged {count_with_noun(chunk.rows, 'row', 'rows')}: {counts}"
    if batch is None or batch.input_tokens is None:
        return text
    cost = (
        "an unknown sum"
        if batch.cost_usd is None
        else f"${batch.cost_usd:,.4f}"
        if batch.cost_usd
        else "nothing"
    )
    return f"{text}; {batch.input_tokens:,} tokens in, {batch.output_tokens or 0:,} out, for {cost}"
