"""The size of a run's embeddings: learned from the first vector, and the type that every chunk publishes."""

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
    """What a merged chunk of embeddings notes: the size; None when it holds no vector and none was known."""
    return {_SIZE: size}


def known_size(run: Run) -> int | None:
    """The size that a merged chunk has noted; None before the first vector."""
    return run.ledger.first_stat(_SIZE)


def settle(run: Run, chunks: Iterable[ChunkRecord]) -> None:
    """Give the chunks that were merged before the size was known, and so hold no vector, the type of the others."""
    size = known_size(run)
    if size is None:
        return
    column = run.job.output.prefix + "answer"
    for chunk in chunks:
        if chunk.stats and _SIZE in chunk.stats and chunk.stats[_SIZE] is None:
            _retype(run, enriched_name(chunk.number), column, VectorColumn(size).type)


def _retype(run: Run, name: str, column: str, column_type: pa.DataType) -> None:
    """Rewrite a file whose `column` is all null, row group by row group."""
    with run.folder.read(name) as source:
        old = pq.ParquetFile(source)
        index = old.schema_arrow.get_field_index(column)
        schema = old.schema_arrow.set(index, pa.field(column, column_type))
        with (
            run.folder.write(name) as sink,
            pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1) as writer,
        ):
            for group in range(old.num_row_groups):
                table = old.read_row_group(group)
                arrays = [*table.columns]
                arrays[index] = pa.chunked_array([pa.nulls(table.num_rows, column_type)])
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
