"""Read Parquet files: every type untouched, flat memory also with one huge row group.

The dataset scanner is not used to read: it held 4 to 10 times the memory of `iter_batches` on the same file.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.stages.read.common_schema import CommonSchema, cast_batch
from tasks.stages.read.filters import Where
from tasks.stages.read.parquet_annotations import annotated_schema
from tasks.stages.read.wide_row_groups import MOST_COLUMNS_WEIGHED, batches_of
from tasks.storage.source_files import BATCH_BYTES, REMOTE_BLOCK, BadLines, Fragment, SourceFilesystem

_LOCAL_BUFFER = 1 << 20
_ALL_BUFFERS = 16 << 20
_LEAST_BUFFER = 1 << 16


@dataclass(frozen=True)
class ParquetReader:
    """Reads the Parquet files of a dataset; `schema` is that of the files, `rows` their total.

    `can_refuse` are the columns that are read as another type than some file has.
    """

    storage: SourceFilesystem
    schema: Any
    rows: int
    notes: tuple[str, ...] = ()
    can_refuse: frozenset[str] = frozenset()

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches with the columns `names`; row groups that `where` rules out are not read."""
        del bad  # Parquet has no lines
        schema = pa.schema([self.schema.field(name) for name in names])
        groups = self._groups(fragment, where)
        if groups == []:
            return
        with self.storage.input_errors(fragment.path), opened(self.storage, fragment, len(names)) as file:
            rows = min(rows, _rows_of_a_batch(file.metadata, frozenset(names)))
            for batch in batches_of(file, groups, names, rows):
                yield cast_batch(batch, schema, self.storage.display_path(fragment.path))

    def _groups(self, fragment: Fragment, where: Where) -> list[int] | None:
        """The row groups that may hold rows for `where`, by their statistics; None for all of them."""
        expression = where.expression([name for name in self.schema.names if name not in self.can_refuse])
        if expression is None:
            return None
        # Imports pandas, and only a filter needs it.
        import pyarrow.dataset as arrow_dataset
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        with self.storage.input_errors(fragment.path):
            filesystem = PyFileSystem(FSSpecHandler(self.storage.fs))
            whole_file = arrow_dataset.ParquetFileFormat().make_fragment(fragment.path, filesystem)
            return [group.id for group in whole_file.subset(expression).row_groups]


def inspect_parquet(
    storage: SourceFilesystem, fragments: tuple[Fragment, ...], only: frozenset[str] | None
) -> ParquetReader:
    """Read the footers and check that the files fit together. Raises InputError."""
    common = CommonSchema(storage.display_path(fragments[0].path), only)
    rows = 0
    for fragment in fragments:
        with storage.input_errors(fragment.path, "be read as Parquet"), opened(storage, fragment) as file:
            rows += _row_count(file.metadata)
            schema, notes = annotated_schema(file)
            own = zip(schema, file.schema_arrow, strict=True)
            common.mark_converted([field.name for field, stored in own if field.type != stored.type])
            common.add(storage.display_path(fragment.path), schema, notes)
    return ParquetReader(storage, common.schema, rows, common.notes, common.converted)


def _row_count(footer: Any) -> int:
    """The rows of a file; some writers count them in the row groups only."""
    in_groups = sum(int(footer.row_group(number).num_rows) for number in range(footer.num_row_groups))
    return max(int(footer.num_rows), in_groups)


def _rows_of_a_batch(footer: Any, names: Collection[str]) -> int:
    """How many rows make about BATCH_BYTES in the row group with the largest ones."""
    largest = 1
    for number in range(footer.num_row_groups if footer.num_columns < MOST_COLUMNS_WEIGHED else 0):
        group = footer.row_group(number)
        columns = (group.column(place) for place in range(group.num_columns))
        used = (each for each in columns if each.path_in_schema.split(".")[0] in names)
        size = sum(column.total_uncompressed_size for column in used)
        largest = max(largest, size // max(1, group.num_rows))
    return max(1, BATCH_BYTES // largest)


@contextmanager
def opened(storage: SourceFilesystem, fragment: Fragment, columns: int = 1) -> Iterator[Any]:
    """A ParquetFile that reads ahead one buffer for each of `columns` and keeps nothing."""
    # Without pre_buffer, which would hold a whole row group.
    buffer = (
        max(_LEAST_BUFFER, min(_LOCAL_BUFFER, _ALL_BUFFERS // columns)) if storage.local else REMOTE_BLOCK
    )
    source = storage.open_random(fragment)
    with pq.ParquetFile(source, pre_buffer=False, buffer_size=buffer) as file:
        yield file
