"""The embeddings of a run have one size, learned from the first of them; every chunk publishes that type."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.ledger.records import ChunkRecord
from tasks.runs.chunk_files import enriched_name
from tasks.runs.session import Run
from tasks.stages.answers.columns import VectorColumn

_SIZE = "vector_size"


def size_stats(size: int | None) -> dict[str, int | None]:
    """What a merged chunk of embeddings notes: the size, None when it holds no vector and nobody told it."""
    return {_SIZE: size}


def size_of(chunks: Iterable[ChunkRecord]) -> int | None:
    """The size that the merged chunks know; None before the first vector."""
    return next((chunk.stats[_SIZE] for chunk in chunks if chunk.stats and chunk.stats.get(_SIZE)), None)


def settle(run: Run, chunks: Iterable[ChunkRecord]) -> None:
    """Give the chunks that were merged before the size was known, and so hold no vector, the type of the others."""
    chunks = tuple(chunks)
    size = size_of(chunks)
    if size is None:
        return
    column = run.job.output.prefix + "answer"
    for chunk in chunks:
        if chunk.stats and _SIZE in chunk.stats and chunk.stats[_SIZE] is None:
            _retype(run, enriched_name(chunk.number), column, VectorColumn(size).type)


def _retype(run: Run, name: str, column: str, kind: pa.DataType) -> None:
    """Rewrite a file whose `column` is all null, row group by row group."""
    with run.folder.read(name) as source:
        old = pq.ParquetFile(source)
        at = old.schema_arrow.get_field_index(column)
        schema = old.schema_arrow.set(at, pa.field(column, kind))
        with (
            run.folder.write(name) as sink,
            pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1) as writer,
        ):
            for group in range(old.num_row_groups):
                table = old.read_row_group(group)
                arrays = [*table.columns]
                arrays[at] = pa.chunked_array([pa.nulls(table.num_rows, kind)])
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
