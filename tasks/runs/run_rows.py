"""The rows of a run as they came out, a few at a time, whatever the size of its output."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import ConfigError
from configs.home import Home
from tasks.ledger.transitions import ChunkState
from tasks.runs.chunk_files import enriched_name
from tasks.runs.queries import find_run, open_ledger
from tasks.runs.receipts import receipt_of
from tasks.stages import arrow_columns
from tasks.stages.output_columns import prefix_of
from tasks.stages.row_status import RowStatus
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder, join

_ROWS_AT_ONCE = 256

EachFile = Callable[[Callable[[BinaryIO], Iterator[Any]]], Iterator[Any]]
"""What a reader of one Parquet file gives for each of a run's, in order."""


@dataclass(frozen=True)
class RunRows:
    """The rows in batches that have these `columns`; `so_far` says in a line what is missing of a run that is not finished."""

    columns: list[str]
    batches: Iterator[pa.RecordBatch]
    so_far: str | None = None


def run_rows(home: Home, name: str, statuses: Collection[RowStatus] = ()) -> RunRows:
    """The rows of the run that `find_run` finds, of these statuses or all, with all columns of its output.

    They are read from what it published, in source order, or where another run's rows are by now, from its folder. Of a run that is
    not finished they are those of its merged chunks. ConfigError when there is no such run, or its rows are gone.
    """
    ledger = open_ledger(home)
    run = find_run(ledger, name)
    assert ledger is not None
    receipt = receipt_of(run)
    if receipt is not None:
        output = EnrichedOutput(receipt.output, run.job, run.id)
        if output.is_of_this_run:
            return _read(output.read, statuses)
    folder = RunFolder(join(home.runs_url, run.folder))
    chunks = ledger.chunks(run.id)
    merged = [chunk.number for chunk in chunks if chunk.state is ChunkState.MERGED]
    if receipt is not None and merged and not folder.exists(enriched_name(merged[0])):
        raise ConfigError(
            f"{run.title}: {receipt.output} has no rows of it any more, and its run folder, {folder.url}, was removed;"
            " a run with --redo asks for them again"
        )
    so_far = f"{run.title} is {run.state}: these are the rows merged so far, {len(merged):,} of {len(chunks):,} chunks"
    return _read(partial(_each_chunk, folder, merged), statuses, None if receipt else so_far)


def _read(each_file: EachFile, statuses: Collection[RowStatus], so_far: str | None = None) -> RunRows:
    columns: list[str] = next(each_file(_columns), [])
    return RunRows(columns, each_file(partial(_rows_of, statuses=statuses)), so_far)


def _each_chunk(
    folder: RunFolder, chunks: list[int], read_file: Callable[[BinaryIO], Iterator[Any]]
) -> Iterator[Any]:
    for number in chunks:
        with folder.read(enriched_name(number)) as file:
            yield from read_file(file)


def _columns(file: BinaryIO) -> Iterator[list[str]]:
    yield pq.ParquetFile(file).schema_arrow.names


def _rows_of(file: BinaryIO, statuses: Collection[RowStatus]) -> Iterator[pa.RecordBatch]:
    """The rows in an enriched Parquet file; of a row group without any of those statuses, only that column is read."""
    table = pq.ParquetFile(file)
    status = f"{prefix_of(table.schema_arrow.names)}status"
    wanted = arrow_columns.strings([str(each) for each in statuses])
    for group in range(table.num_row_groups):
        if statuses and not _any_of(wanted, table.read_row_group(group, columns=[status]).column(0)):
            continue
        for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=[group]):
            rows = batch.filter(pc.is_in(batch.column(status), value_set=wanted)) if statuses else batch
            if rows.num_rows:
                yield rows


def _any_of(wanted: pa.Array, words: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.is_in(words, value_set=wanted)).as_py())
