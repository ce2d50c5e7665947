"""Give all chunks of a run the same vector type: its length is known only after the first embedding.

Many readers refuse a dataset folder whose files have different types in a column.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.ledger.records import ChunkRecord
from tasks.runs.chunk_files import enriched_name
from tasks.runs.session import Run
from tasks.stages.answers.columns import VectorColumn

_STATS_KEY = "vector_size"


def vector_size_stats(size: int | None) -> dict[str, int | None]:
    """The entry in a merged chunk's stats: the vector size, None when it has no vector and the size was not known."""
    return {_STATS_KEY: size}


def known_vector_size(run: Run) -> int | None:
    """The vector size in the stats of a merged chunk; None before the first vector."""
    return run.ledger.first_stat(_STATS_KEY)


def unify_vector_types(run: Run, chunks: Iterable[ChunkRecord]) -> None:
    """Rewrite the chunks that were merged before the size was known (so without a vector) with the type of the others."""
    size = known_vector_size(run)
    if size is None:
        return
    column = run.job.output.prefix + "answer"
    for chunk in chunks:
        if chunk.stats and _STATS_KEY in chunk.stats and chunk.stats[_STATS_KEY] is None:
            _change_column_type(run, enriched_name(chunk.number), column, VectorColumn(size).type)


def _change_column_type(run: Run, name: str, column: str, column_type: pa.DataType) -> None:
    """Rewrite a Parquet file, whose `column` is all null, with another type of that column; one row group at a time."""
    with run.folder.read(name) as source:
        source_file = pq.ParquetFile(source)
        index = source_file.schema_arrow.get_field_index(column)
        schema = source_file.schema_arrow.set(index, pa.field(column, column_type))
        with (
            run.folder.write(name) as sink,
            pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1) as writer,
        ):
            for group in range(source_file.num_row_groups):
                table = source_file.read_row_group(group)
                arrays = [*table.columns]
                arrays[index] = pa.chunked_array([pa.nulls(table.num_rows, column_type)])
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
