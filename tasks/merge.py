"""Put a chunk's answers onto its rows; rows that still lack one go into the next attempt."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from configs.errors import IntegrityError
from configs.foreign_text import printable
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.orchestration.step import step
from tasks.runs import vectors
from tasks.runs.answer_files import Assets
from tasks.runs.chunk_files import enriched_name, requests_name
from tasks.runs.follow_ups import follow_up_lines
from tasks.runs.merge_files import MergeOutcome, MergeWork, merge_files
from tasks.runs.postings import kept_copy
from tasks.runs.prices import price_of
from tasks.runs.session import Run
from tasks.runs.step_lines import chunk_line
from tasks.stages.answers.columns import keeps_files
from tasks.stages.merge.merge_chunk import MergeStats
from tasks.stages.wire.billing import is_billing_refusal


@step("merge", "merge chunk {chunk.number}", chunk_line)
def merge(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Write the chunk's enriched rows; then it is done, or prepared for another attempt over the rest."""
    batches = _batches_that_count(run, chunk)
    outcome = _write(run, chunk, batches)
    stats = outcome.stats
    spent = _spent(stats, batches)
    posted = kept_copy(run.folder, replace(chunk, attempt=chunk.attempt + 1, posting=1))
    if posted is not None:  # the ledger is older than its posting: what it asked stays as it was
        return _prepared(run, chunk, spent, posted.requests, posted.bytes, posted.tokens_estimate)
    if stats.to_ask and _may_go_on(run, chunk):
        if stats.unpaid:
            run.pause(
                f"the account could not pay for {stats.unpaid:,} rows of chunk {chunk.number}: {_example(stats)}"
            )
        return _next_attempt(run, chunk, stats, spent)
    if run.record.pauses and run.record.paused_until is None and not stats.unpaid:
        run.ledger.update_run(pauses=0)
        run.reload()
    detail = ", ".join(f"{count:,} {status}" for status, count in stats.by_status.items() if count)
    return run.ledger.move(chunk, ChunkState.MERGED, detail, batch_values=spent, stats=_as_json(outcome))


def _may_go_on(run: Run, chunk: ChunkRecord) -> bool:
    return not run.giving_up and chunk.not_posted is None


def merge_again(run: Run, chunk: ChunkRecord) -> None:
    """Write a merged chunk's enriched rows once more, from its results. IntegrityError when they say something else now."""
    stats = _write(run, chunk, _batches_that_count(run, chunk)).stats
    before = (chunk.stats or {}).get("by_status")
    if stats.by_status != before:
        raise IntegrityError(
            f"chunk {chunk.number}: its results in {run.folder.url} are not what they were (rows by status {before},"
            f" now {stats.by_status}); nothing was published, put the run folder back from a backup"
        )
    run.ledger.note("merged anew", f"chunk {chunk.number}: {enriched_name(chunk.number)} was damaged or gone")


def _batches_that_count(run: Run, chunk: ChunkRecord) -> list[BatchRecord]:
    """The last posting of every attempt: a queue that was full answered nothing."""
    return list({batch.attempt: batch for batch in run.ledger.batches_of(chunk)}.values())


def _write(run: Run, chunk: ChunkRecord, batches: list[BatchRecord]) -> MergeOutcome:
    """Have the chunk's enriched rows written, wherever the job has it, and let them appear."""
    job = run.job_of(chunk)
    work = MergeWork(
        folder_url=run.folder.url,
        fence=run.ledger.fence,
        runs_url=run.runs_url,
        chunk=chunk,
        batches=tuple(batches),
        job=job,
        retry_on=_retry_on(run),
        price=price_of(job, run.record.created_at),
        lane_prices={
            lane: price_of(run.job, run.record.created_at, lane)
            for lane in {batch.lane for batch in batches}
            if lane is not None
        },
        vector_size=vectors.known_vector_size(run),
    )
    # Pictures and videos appear under their own names while they are read: the lease's holder does it.
    if keeps_files(job.prompt):
        outcome = run.here.run(partial(merge_files, assets=Assets(run, chunk)), work)
    else:
        outcome = run.engine_for().run(merge_files, work)
    run.folder.adopt(outcome.written, enriched_name(chunk.number))
    return outcome


def _retry_on(run: Run) -> tuple[str, ...]:
    """The reasons for which rows are asked again: after the deadline also that their batch was cancelled for it."""
    return (*run.job.retry.on, "cancelled") if run.past_deadline else run.job.retry.on


def _example(stats: MergeStats) -> str:
    """What the provider says of them, if it is among the most frequent errors."""
    return next(
        (
            error.example or error.code
            for error in stats.errors
            if is_billing_refusal(error.code, error.example)
        ),
        "their error is in no column, as they had an answer before",
    )


def _next_attempt(run: Run, chunk: ChunkRecord, stats: MergeStats, spent: dict[str, Any]) -> ChunkRecord:
    wanted = frozenset(stats.to_ask)
    size = 0
    with run.folder.write(requests_name(chunk.number, chunk.attempt + 1)) as after:
        for line in follow_up_lines(run, chunk, wanted):
            after.write(line)
            size += len(line)
    # By their share of the bytes: rows of one chunk are alike, and no byte of a picture is a token.
    tokens = -(-chunk.tokens_estimate * size // max(1, chunk.bytes))
    return _prepared(run, chunk, spent, len(wanted), size, tokens)


def _prepared(
    run: Run, chunk: ChunkRecord, spent: dict[str, Any], requests: int, size: int, tokens: int
) -> ChunkRecord:
    attempt = chunk.attempt + 1
    return run.ledger.move(
        chunk,
        ChunkState.PREPARED,
        f"{requests:,} rows go into attempt {attempt}",
        batch_values=spent,
        attempt=attempt,
        posting=1,
        requests=requests,
        bytes=size,
        tokens_estimate=tokens,
    )


def _spent(stats: MergeStats, batches: list[BatchRecord]) -> dict[str, Any]:
    """Tokens and cost of the newest attempt, for its batch."""
    if not batches:
        return {}
    newest = stats.attempts[-1]
    return {
        "input_tokens": newest.input_tokens,
        "output_tokens": newest.output_tokens,
        "cached_tokens": newest.cached_tokens,
        "reasoning_tokens": newest.reasoning_tokens,
        "cost_usd": newest.cost_usd,
        "answered_requests": newest.answered,
        "counted_requests": newest.counted,
        "output_p95": newest.output_p95,
        "cache_write_tokens": newest.cache.written_tokens,
        "cache_write_usd": newest.cache.write_usd,
        "cache_saved_usd": newest.cache.saved_usd,
    }


def _as_json(outcome: MergeOutcome) -> dict[str, Any]:
    stats = outcome.stats
    return {
        **(vectors.vector_size_stats(outcome.vectors.size) if outcome.vectors else {}),
        "rows": stats.rows,
        "by_status": stats.by_status,
        "errors": {error.code: [error.rows, printable(error.example or "")] for error in stats.errors},
        "unknown_ids": stats.unknown_ids,
        "duplicate_lines": stats.duplicate_lines,
        "unparsable_lines": stats.unparsable_lines,
        "unanswered": len(stats.unanswered) + stats.unanswered_copies,
        "reused": list(outcome.earlier),
    }
