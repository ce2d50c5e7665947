"""Publish the enriched rows with receipt and report, and delete our files at the provider."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import IntegrityError, NightmailError
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import RunState
from tasks.merge import merge_again
from tasks.orchestration.step import step
from tasks.reuse.job_index import add_run
from tasks.runs import answer_files, vectors
from tasks.runs.budgets import budget_states_of
from tasks.runs.chunk_files import enriched_name
from tasks.runs.chunk_job import jobs_by_model
from tasks.runs.ordered_parts import ordered_parts
from tasks.runs.report_page import make_page
from tasks.runs.result_lines import result_files
from tasks.runs.session import Run
from tasks.runs.step_lines import published_line
from tasks.stages.report.estimate import Estimate
from tasks.stages.report.receipt import (
    BatchCounts,
    CacheUse,
    OddLines,
    RealTimeUse,
    Receipt,
    ReusedAnswers,
    RowCounts,
    TokenSums,
    rows_by_status,
    top_errors,
)
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import UNFINISHED

_READ_BYTES = 4 << 20
_READ_COLUMNS = 32


@step("publish", "publish", published_line)
def publish(run: Run) -> None:
    """Publish all chunks as a whole and end the run; a run that is being stopped stays open for its remaining rows.

    What is damaged or gone of the merged rows is merged anew. Raises IntegrityError, and publishes nothing, when rows do
    not add up.
    """
    chunks = run.ledger.chunks()
    if not run.stopping:
        run.ledger.begin_publishing()
    batches = run.ledger.batches()
    receipt = _receipt(run, chunks, batches)
    output = EnrichedOutput(run.job.output.path, run.job.name, run.id, run.ledger.check, run.ledger.fence)
    output.check_owner()
    for chunk in chunks:
        if not _is_whole(run, chunk):
            merge_again(run, chunk)
    vectors.unify_vector_types(run, chunks)
    lines = result_files(run, chunks)
    receipt = receipt.model_copy(update={"result_lines": tuple(output.lines(kind) for kind, _ in lines)})
    report = output.publish(
        ordered_parts(run, chunks),
        lambda place: receipt.with_report(place).to_bytes(),
        make_page(run, receipt, chunks, batches),
        answer_files.saved_files(run),
        lines,
    )
    published = receipt.with_report(report)
    with run.folder.write("receipt.json") as file:
        file.write(published.to_bytes())
    run.folder.remove(UNFINISHED)  # of processes that were killed in the middle
    add_run(run)
    if run.stopping:
        return
    _tidy(run)
    run.ledger.update_run(state=RunState.FINISHED, receipt=published.as_json(), finished_at=run.clock.now())


def _is_whole(run: Run, chunk: ChunkRecord) -> bool:
    """Whether the chunk's enriched rows are there, can be read from the first to the last, and are as many as they were."""
    name = enriched_name(chunk.number)
    if not run.folder.exists(name):
        return False
    with run.folder.read(name) as source:
        try:
            file = pq.ParquetFile(source)
            rows = sum(_rows_read(file, group) for group in range(file.num_row_groups))
        except (pa.ArrowException, OSError):
            return False
    return bool(rows == file.metadata.num_rows == chunk.rows)


def _rows_read(file: pq.ParquetFile, group: int) -> int:
    """How many rows of a row group can be read in all columns; some columns, and about _READ_BYTES of them, are held at a time."""
    about, names = file.metadata.row_group(group), file.schema_arrow.names
    rows = max(1, about.num_rows * _READ_BYTES // max(_READ_BYTES, about.total_byte_size))
    parts = (names[start : start + _READ_COLUMNS] for start in range(0, len(names), _READ_COLUMNS))
    return min(
        sum(
            int(batch.num_rows) for batch in file.iter_batches(rows, [group], columns=part, use_threads=False)
        )
        for part in parts
    )


def _receipt(run: Run, chunks: tuple[ChunkRecord, ...], batches: tuple[BatchRecord, ...]) -> Receipt:
    record = run.ledger.read_run()  # it was read before there was anything to count
    stats = [chunk.stats for chunk in chunks if chunk.stats]
    answering = [batch for batch in batches if batch.input_tokens is not None]
    finished = run.clock.now()
    tokens = _token_sums(answering)
    jobs = jobs_by_model(run.job, chunks)
    estimated = Estimate.model_validate(record.estimate) if record.estimate else None
    return Receipt(
        job=run.job.name,
        key=record.key,
        generation=record.generation,
        run=run.id,
        date=record.logical_date,
        source=run.job.source.path,
        source_fingerprint=record.source_fingerprint,
        output=run.job.output.path,
        run_folder=run.folder.url,
        provider=run.job.provider.name,
        answered_by=run.job.provider.answered_by,
        model=", ".join(jobs),
        rows=_row_counts(run, chunks),
        bad_lines=record.bad_lines,
        ranges_left_out=record.ranges_left_out or 0,
        chunks=len(chunks),
        batches=_batch_counts(batches),
        tokens=tokens,
        cost_usd=_cost(answering),
        cache=_cache_use(answering),
        real_time=_real_time(batches),
        reused=_reused(stats) if run.job.reuse else None,
        estimate=estimated,
        estimate_deviation=_deviation(estimated, tokens),
        budgets=budget_states_of(jobs.values(), run.all_runs, run.id, finished),
        retryable=sum(chunk["unanswered"] for chunk in stats),
        errors=top_errors(stats),
        error_budget=run.job.run.error_budget,
        odd_lines=_odd_lines(stats),
        started_at=record.created_at,
        finished_at=finished,
        # The clock may be set back.
        seconds=max(0.0, round((finished - record.created_at).total_seconds(), 1)),
    )


def _row_counts(run: Run, chunks: tuple[ChunkRecord, ...]) -> RowCounts:
    """IntegrityError unless every row of every chunk has one status."""
    by_status = rows_by_status(chunk.stats for chunk in chunks if chunk.stats)
    total, counted = sum(chunk.rows for chunk in chunks), sum(by_status.values())
    if counted != total or not all(chunk.stats for chunk in chunks):
        raise IntegrityError(
            f"{run.title}: {total:,} rows went in but {counted:,} came out;"
            f" nothing was published, see {run.folder.url}"
        )
    return RowCounts(total=total, by_status=by_status)


def _batch_counts(batches: tuple[BatchRecord, ...]) -> BatchCounts:
    posted = [batch for batch in batches if batch.batch_id is not None]
    return BatchCounts(posted=len(posted), follow_ups=sum(batch.attempt > 1 for batch in posted))


def _token_sums(answering: list[BatchRecord]) -> TokenSums:
    return TokenSums(
        input=sum(batch.input_tokens or 0 for batch in answering),
        output=sum(batch.output_tokens or 0 for batch in answering),
        cached=sum(batch.cached_tokens or 0 for batch in answering),
        reasoning=sum(batch.reasoning_tokens or 0 for batch in answering),
    )


def _deviation(estimated: Estimate | None, tokens: TokenSums) -> float | None:
    """None where there is nothing to compare: no estimate, no usage reported, media that no rule counts."""
    if estimated is None or estimated.prompt.expected is None:
        return None
    if not estimated.prompt_tokens or not tokens.input:
        return None
    return round(tokens.input / estimated.prompt_tokens - 1, 4)


def _cost(answering: list[BatchRecord]) -> float | None:
    """None when one of them has no price."""
    return _known_sum([batch.cost_usd for batch in answering])


def _known_sum(amounts: list[float | None]) -> float | None:
    return None if None in amounts else sum(amount for amount in amounts if amount is not None)


def _cache_use(answering: list[BatchRecord]) -> CacheUse | None:
    """None where nothing was written or read."""
    written = sum(batch.cache_write_tokens or 0 for batch in answering)
    read = sum(batch.cached_tokens or 0 for batch in answering)
    if not written and not read:
        return None
    return CacheUse(
        written=written,
        read=read,
        write_usd=_known_sum([batch.cache_write_usd for batch in answering]),
        saved_usd=_known_sum([batch.cache_saved_usd for batch in answering]),
    )


def _real_time(batches: tuple[BatchRecord, ...]) -> tuple[RealTimeUse, ...]:
    """What was posted to real-time calls, by lane."""
    posted = [batch for batch in batches if batch.lane is not None and batch.batch_id is not None]
    return tuple(
        RealTimeUse(
            lane=lane,
            batches=len(here),
            rows=sum(batch.requests for batch in here),
            cost_usd=_cost([batch for batch in here if batch.input_tokens is not None]),
        )
        for lane in sorted({batch.lane for batch in posted if batch.lane})
        if (here := [batch for batch in posted if batch.lane == lane])
    )


def _reused(stats: list[dict[str, Any]]) -> ReusedAnswers:
    counts = [chunk.get("reused", (0, 0.0)) for chunk in stats]
    saved = [usd for _, usd in counts]
    return ReusedAnswers(
        rows=sum(rows for rows, _ in counts), saved_usd=None if None in saved else float(sum(saved))
    )


def _odd_lines(stats: list[dict[str, Any]]) -> OddLines:
    return OddLines(**{kind: sum(chunk[kind] for chunk in stats) for kind in OddLines.model_fields})


def _tidy(run: Run) -> None:
    """Delete our files at the provider: all but those that could not be read whole are in the run folder.

    What cannot be deleted now is noted; the run is finished all the same.
    """
    files = {
        file: batch
        for batch in run.ledger.batches()
        if batch.tidied_at is None and batch.was_read_whole
        for file in (batch.file_id, *batch.result_files)
        if file
    }
    for file, batch in sorted(files.items(), key=lambda each: each[0]):
        try:
            run.service_of(batch).delete_file(file)
        except NightmailError as error:
            run.ledger.note("untidy", f"{file} is still at the provider: {error}")
            return
    run.ledger.mark_tidied()
