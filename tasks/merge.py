"""Put a chunk's answers onto its rows; rows that still lack one go into the next attempt."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import IntegrityError
from configs.foreign_text import printable
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import BATCH_CANCELLED, ChunkState
from tasks.orchestration.step import step
from tasks.reuse.earlier_rows import EarlierRows, rows_copied
from tasks.runs import vectors
from tasks.runs.answer_files import Assets
from tasks.runs.chunk_files import enriched_name, line_id, lines_name, requests_name, results_name, rows_name
from tasks.runs.follow_ups import follow_up_lines
from tasks.runs.postings import kept_copy
from tasks.runs.prices import price_of
from tasks.runs.session import Run
from tasks.stages.answers.columns import AnswerColumn, VectorColumn, answer_column_of
from tasks.stages.answers.files import ImageColumn
from tasks.stages.answers.schema import checker_of
from tasks.stages.merge.copies import fill_copies
from tasks.stages.merge.lines import first_vector_size
from tasks.stages.merge.merge_chunk import RANGE_BYTES, WHOLE_BYTES, Attempt, MergeStats, merge_chunk
from tasks.stages.wire.billing import is_billing_refusal
from tasks.stages.wire.dialect import Parser
from tasks.stages.wire.formats import dialect
from tasks.storage.run_folder import RunFolder, join
from tasks.storage.temporary import mapped, nameless_file


@step("merge", "merge chunk {chunk.number}")
def merge(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Write the chunk's enriched rows; then it is done, or prepared for another attempt over the rest."""
    batches = _batches_that_count(run, chunk)
    stats, answer_column, earlier = _write(run, chunk, batches)
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
    return run.ledger.move(
        chunk, ChunkState.MERGED, detail, batch_values=spent, stats=_as_json(stats, answer_column, earlier)
    )


def _may_go_on(run: Run, chunk: ChunkRecord) -> bool:
    return not run.giving_up and chunk.not_posted is None


def merge_again(run: Run, chunk: ChunkRecord) -> None:
    """Write a merged chunk's enriched rows once more, from its results. IntegrityError when they say something else now."""
    stats, _, _ = _write(run, chunk, _batches_that_count(run, chunk))
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


def _write(
    run: Run, chunk: ChunkRecord, batches: list[BatchRecord]
) -> tuple[MergeStats, AnswerColumn, EarlierRows]:
    job = run.job
    parser = dialect(job.provider.dialect).parser_for(job.prompt)
    with ExitStack() as stack:
        rows = stack.enter_context(run.folder.read(rows_name(chunk.number)))
        lines = pq.ParquetFile(stack.enter_context(run.folder.read(lines_name(chunk.number)))).read()
        attempts = [_attempt(run, chunk, batch, stack) for batch in batches]
        if not attempts and chunk.requests:
            reason = chunk.not_posted or "the run gave up before this was posted"
            attempts = [Attempt(error=(BATCH_CANCELLED, reason), counts=False)]
        earlier = _earlier_rows(run, chunk, lines)
        answer_column = _answer_column(run, chunk, attempts, parser, earlier)
        sink = stack.enter_context(run.folder.write(enriched_name(chunk.number)))
        has_copies = _has_copies(lines)
        merged = stack.enter_context(nameless_file()) if has_copies else sink
        stats = merge_chunk(
            rows,
            lines,
            attempts,
            merged,
            parser=parser,
            answer_column=answer_column,
            prefix=job.output.prefix,
            carried=job.source.columns,
            checker=checker_of(job.prompt),
            price=price_of(job, run.record.created_at),
            retry_on=job.retry.on,
            max_attempts=job.retry.max_attempts,
            # a line with a picture is a thousand times as long as one with text, and is held several times over
            whole_bytes=RANGE_BYTES if isinstance(answer_column, ImageColumn) else WHOLE_BYTES,
            earlier=earlier if earlier.rows else None,
        )
        if has_copies:
            merged.flush()
            outcomes = rows_copied(lines, lambda: mapped(merged))
            stats = fill_copies(mapped(merged), lines, outcomes, sink, job.output.prefix, stats)
    return stats, answer_column, earlier


def _has_copies(lines: pa.Table) -> bool:
    return "same_as" in lines.column_names and lines.column("same_as").null_count < lines.num_rows


def _earlier_rows(run: Run, chunk: ChunkRecord, lines: pa.Table) -> EarlierRows:
    def opener(folder: str, number: int) -> BinaryIO:
        return RunFolder(join(run.runs_url, folder)).read_if_there(enriched_name(number))

    return EarlierRows(lines, opener, lambda: run.folder.read_if_there(enriched_name(chunk.number)))


def _answer_column(
    run: Run, chunk: ChunkRecord, attempts: list[Attempt], parser: Parser, earlier: EarlierRows
) -> AnswerColumn:
    """What this chunk's answers become. The first vector of a run decides how long all of them are."""
    answer_column = answer_column_of(run.job.prompt, assets=Assets(run, chunk))
    if answer_column != VectorColumn(None):
        return answer_column
    size = vectors.known_vector_size(run)
    if size is None:
        size = first_vector_size((file for attempt in attempts for file in attempt.files), parser)
    if size is None:
        size = earlier.vector_size
    return answer_column_of(run.job.prompt, size)


def _attempt(run: Run, chunk: ChunkRecord, batch: BatchRecord, stack: ExitStack) -> Attempt:
    files = [
        stack.enter_context(run.folder.read_local_copy(results_name(chunk.number, batch.attempt, index)))
        for index in range(len(batch.result_files))
    ]
    posted = None
    if batch.attempt > 1:
        with run.folder.read(requests_name(chunk.number, batch.attempt)) as file:
            posted = [line_id(line) for line in file]
    code = batch.error_code or (f"batch_{batch.status}" if batch.status in ("expired", "cancelled") else None)
    error = (code, batch.error_text) if code else None
    return Attempt(files, posted, batch.batch_id, error, counts=batch.is_attempt)


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
        "counted_requests": newest.counted,
        "output_p95": newest.output_p95,
        "cache_write_tokens": newest.cache.written_tokens,
        "cache_write_usd": newest.cache.write_usd,
        "cache_saved_usd": newest.cache.saved_usd,
    }


def _as_json(stats: MergeStats, answer_column: AnswerColumn, earlier: EarlierRows) -> dict[str, Any]:
    return {
        **(vectors.vector_size_stats(answer_column.size) if isinstance(answer_column, VectorColumn) else {}),
        "rows": stats.rows,
        "by_status": stats.by_status,
        "errors": {error.code: [error.rows, printable(error.example or "")] for error in stats.errors},
        "unknown_ids": stats.unknown_ids,
        "duplicate_lines": stats.duplicate_lines,
        "unparsable_lines": stats.unparsable_lines,
        "unanswered": len(stats.unanswered) + stats.unanswered_copies,
        "reused": [earlier.rows, earlier.saved_usd],
    }
