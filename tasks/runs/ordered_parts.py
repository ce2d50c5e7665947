"""The parts of a run's output in the order of its source: its chunks, or where a file of requests asks several models, new parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.ledger.records import ChunkRecord
from tasks.runs.chunk_files import enriched_name
from tasks.runs.session import Run
from tasks.stages.output_columns import OUTPUT_COLUMNS
from tasks.stages.read.request_files import REQUEST_COLUMNS
from tasks.stages.ready_requests.in_order import common_schema, in_order, read_part
from tasks.storage.object_output import OpenFile

_PART_ROWS, _PART_BYTES = 500_000, 256 << 20
_GROUP_ROWS, _GROUP_BYTES = 16_384, 10_000_000


def ordered_parts(run: Run, chunks: Sequence[ChunkRecord]) -> list[OpenFile]:
    """Each opens a Parquet file of the same schema. Chunks are contiguous rows in the order of the source, unless they are of
    several groups: then the groups' rows are put in order here, anew at each call."""
    groups = _by_group(chunks)
    if len(groups) < 2:
        return [partial(run.folder.read, enriched_name(chunk.number)) for chunk in chunks]
    answer = f"{run.job.output.prefix}answer"
    schema = common_schema([_schema(run, group[0]) for group in groups], answer)
    rows = in_order([_rows(run, group) for group in groups], schema, answer)
    return [partial(run.folder.read, name) for name in _write(run, schema, rows)]


def _by_group(chunks: Sequence[ChunkRecord]) -> list[list[ChunkRecord]]:
    groups: list[list[ChunkRecord]] = []
    for chunk in chunks:
        if groups and groups[-1][0].prompt == chunk.prompt:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups


def _schema(run: Run, chunk: ChunkRecord) -> pa.Schema:
    with run.folder.read(enriched_name(chunk.number)) as file:
        return pq.ParquetFile(file).schema_arrow


def _rows(run: Run, chunks: Sequence[ChunkRecord]) -> Iterator[pa.RecordBatch]:
    for chunk in chunks:
        with run.folder.read(enriched_name(chunk.number)) as file:
            yield from read_part(file)


def _write(run: Run, schema: pa.Schema, rows: Iterator[pa.Table]) -> Iterator[str]:
    """Write the rows into parts of the run folder; their names."""
    short = [each.name for each in OUTPUT_COLUMNS if each.repeats]
    dictionaries = [run.job.output.prefix + name for name in short] + [*REQUEST_COLUMNS[2:]]
    tables = _tables(rows)
    for number, first in enumerate(tables, start=1):
        name = f"ordered/{number:05d}.parquet"
        with ExitStack() as stack:
            sink = stack.enter_context(run.folder.write(name))
            writer = stack.enter_context(
                pq.ParquetWriter(
                    sink, schema, compression="zstd", compression_level=1, use_dictionary=dictionaries
                )
            )
            done = size = 0
            for table in chain((first,), tables):
                writer.write_table(table)
                done, size = done + table.num_rows, size + table.nbytes
                if done >= _PART_ROWS or size >= _PART_BYTES:
                    break
        yield name


def _tables(rows: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows in tables of a row group's size."""
    held: list[pa.Table] = []
    count = size = 0
    for table in rows:
        held.append(table)
        count, size = count + table.num_rows, size + table.nbytes
        if count >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.concat_tables(held)
            held, count, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)
