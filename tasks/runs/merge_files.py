"""Write a chunk's enriched rows from its files in the run folder: needs no ledger and no lease, so any process can do it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from configs.deadline import Lane
from configs.job import Job
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import BATCH_CANCELLED
from tasks.runs.chunk_files import enriched_name, line_id, lines_name, requests_name, results_name, rows_name
from tasks.runs.earlier_rows import EarlierRows, rows_copied
from tasks.stages.answers.columns import AnswerColumn, VectorColumn, answer_column_of
from tasks.stages.answers.files import NO_ASSETS, AssetStore, ImageColumn
from tasks.stages.answers.schema import checker_of
from tasks.stages.cost.price import Price
from tasks.stages.merge.copies import fill_copies
from tasks.stages.merge.lines import first_vector_size
from tasks.stages.merge.merge_chunk import RANGE_BYTES, WHOLE_BYTES, Attempt, MergeStats, merge_chunk
from tasks.stages.wire.dialect import Parser
from tasks.stages.wire.formats import dialect
from tasks.storage.run_folder import RunFolder, join
from tasks.storage.temporary import mapped, nameless_file


@dataclass(frozen=True)
class MergeWork:
    """A chunk to merge with what its `batches` answered: the last posting of every attempt.

    `fence` is that of the lease under which this was asked for. `job` has the chunk's own prompt. `retry_on` are the reasons for
    which rows are asked again. Prices are told, as they may be in a file of the machine that asks. `vector_size` is None until
    a chunk of the run has a vector.
    """

    folder_url: str
    fence: int
    runs_url: str
    chunk: ChunkRecord
    batches: tuple[BatchRecord, ...]
    job: Job
    retry_on: tuple[str, ...]
    price: Price | None
    lane_prices: Mapping[Lane, Price | None]
    vector_size: int | None


@dataclass(frozen=True)
class MergeOutcome:
    """What came of it; `written` is the name under which the rows wait in the run folder to be adopted.

    `vectors` is the answer column where answers are vectors. `earlier` are the rows that took an earlier answer, and what
    that saved in US dollars, None when unknown.
    """

    stats: MergeStats
    vectors: VectorColumn | None
    earlier: tuple[int, float | None]
    written: str


def merge_files(work: MergeWork, assets: AssetStore = NO_ASSETS) -> MergeOutcome:
    """Write the rows with their answers. `assets` keeps what comes as a picture or video."""
    job, number = work.job, work.chunk.number
    include = job.output.include
    parser = dialect(job.provider.dialect).parser_for(job.prompt, include)
    folder = RunFolder(work.folder_url, stamp=work.fence)
    # By whoever writes: of a work that is begun again, its first process may still be alive, out of its cluster's sight.
    written = folder.temporary_name(enriched_name(number), secrets.token_hex(8))
    with ExitStack() as stack:
        rows = stack.enter_context(folder.read(rows_name(number)))
        lines = pq.ParquetFile(stack.enter_context(folder.read(lines_name(number)))).read()
        attempts = _attempts(work, folder, stack)
        earlier = _earlier_rows(work, folder, lines)
        answer_column = _answer_column(work, attempts, parser, earlier, assets)
        sink = stack.enter_context(folder.write(written))
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
            price=work.price,
            retry_on=work.retry_on,
            max_attempts=job.retry.max_attempts,
            # a line with a picture is a thousand times as long as one with text, and is held several times over, as is one
            # of which more is kept than the answer
            whole_bytes=RANGE_BYTES if include or isinstance(answer_column, ImageColumn) else WHOLE_BYTES,
            earlier=earlier if earlier.rows else None,
            include=include,
        )
        if has_copies:
            merged.flush()
            outcomes = rows_copied(lines, lambda: mapped(merged))
            stats = fill_copies(mapped(merged), lines, outcomes, sink, job.output.prefix, stats)
    vectors = answer_column if isinstance(answer_column, VectorColumn) else None
    return MergeOutcome(stats, vectors, (earlier.rows, earlier.saved_usd), written)


def _has_copies(lines: pa.Table) -> bool:
    return "same_as" in lines.column_names and lines.column("same_as").null_count < lines.num_rows


def _earlier_rows(work: MergeWork, run_folder: RunFolder, lines: pa.Table) -> EarlierRows:
    def opener(folder: str, number: int) -> BinaryIO:
        return RunFolder(join(work.runs_url, folder)).read_if_there(enriched_name(number))

    return EarlierRows(lines, opener, lambda: run_folder.read_if_there(enriched_name(work.chunk.number)))


def _answer_column(
    work: MergeWork, attempts: list[Attempt], parser: Parser, earlier: EarlierRows, assets: AssetStore
) -> AnswerColumn:
    """What this chunk's answers become. The first vector of a run decides how long all of them are."""
    prompt = work.job.prompt
    answer_column = answer_column_of(prompt, assets=assets)
    # Of a file of requests each chunk may ask another model, with vectors of another length: they stay lists.
    if answer_column != VectorColumn(None) or work.chunk.prompt is not None:
        return answer_column
    size = work.vector_size
    if size is None:
        size = first_vector_size((file for attempt in attempts for file in attempt.files), parser)
    if size is None:
        size = earlier.vector_size
    return answer_column_of(prompt, size)


def _attempts(work: MergeWork, folder: RunFolder, stack: ExitStack) -> list[Attempt]:
    attempts = [_attempt(work, folder, batch, stack) for batch in work.batches]
    if attempts or not work.chunk.requests:
        return attempts
    reason = work.chunk.not_posted or "the run gave up before this was posted"
    return [Attempt(error=(BATCH_CANCELLED, reason), counts=False)]


def _attempt(work: MergeWork, folder: RunFolder, batch: BatchRecord, stack: ExitStack) -> Attempt:
    number = work.chunk.number
    files = [
        stack.enter_context(folder.read_local_copy(results_name(number, batch.attempt, index)))
        for index in range(len(batch.result_files))
    ]
    posted = None
    if batch.attempt > 1:
        with folder.read(requests_name(number, batch.attempt)) as file:
            posted = [line_id(line) for line in file]
    code = batch.error_code or (f"batch_{batch.status}" if batch.status in ("expired", "cancelled") else None)
    error = (code, batch.error_text) if code else None
    price = work.lane_prices[batch.lane] if batch.lane else None
    return Attempt(
        files, posted, batch.batch_id, error, counts=batch.is_attempt, lane=batch.lane, lane_price=price
    )
