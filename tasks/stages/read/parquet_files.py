"""Read Parquet files: every type untouched, flat memory also with one huge row group.

The dataset scanner is not used to read: it held 4 to 10 times the memory of `iter_batches` on the same file.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.stages.read.common_schema import CommonSchema, cast_batch
from tasks.stages.read.filters import Where
from tasks.stages.read.large_categories import footer_with_texts
from tasks.stages.read.parquet_annotations import annotated_schema
from tasks.stages.read.wide_row_groups import (
    MOST_COLUMNS_WEIGHED,
    PAGES_BYTES,
    PAGES_OF_A_COLUMN,
    batches_of,
)
from tasks.storage.source_files import BATCH_BYTES, REMOTE_BLOCK, BadLines, Fragment, SourceFilesystem

_LOCAL_BUFFER = 1 << 20
_ALL_BUFFERS = 16 << 20
_LEAST_BUFFER = 1 << 16
_FEWEST_ROWS = (
    32  # to decode at a time by a guess at a dictionary's values: a wrong one must not cost a call a row
)
_USUAL_DICTIONARY = 2 << 20  # twice what writers allow unless they are told otherwise
# Reading and laying down a wide row group costs about so much more than passing its rows over.
_WIDE_TIMES = 5
_BEST_COMPRESSION = 50  # of a dictionary of texts; a short one of 30 bytes is not taken for a long one


@dataclass(frozen=True)
class ParquetReader:
    """Reads the Parquet files of a dataset; `schema` is that of the files, `rows` their total.

    `can_refuse` are the columns that are read as another type than some file has. `counts` are the rows of each file, and
    `skipped_at_most` how many rows may have to be read only to get to one of them. `part`: only these rows of a file.
    """

    storage: SourceFilesystem
    schema: Any
    rows: int
    notes: tuple[str, ...] = ()
    can_refuse: frozenset[str] = frozenset()
    counts: tuple[int, ...] = ()
    skipped_at_most: int = 0
    part: range | None = None

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches with the columns `names`; row groups that `where` rules out are not read."""
        del bad  # Parquet has no lines
        schema = pa.schema([self.schema.field(name) for name in names])
        groups = self._groups(fragment, where) if self.part is None else []
        if groups == [] and self.part is None:
            return
        with (
            self.storage.input_errors(fragment.path),
            _opened_to_read(self.storage, fragment, len(names)) as file,
        ):
            some = min(rows, _rows_of_a_batch(file.metadata, frozenset(names)))
            if self.part is None:
                batches = batches_of(file, groups, names, some)
            else:
                groups, skipped = _groups_of(file.metadata, self.part)
                batches = _taken(batches_of(file, groups, names, some), skipped, len(self.part))
            for batch in _gathered(batches, rows):
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
    counts: list[int] = []
    skipped_at_most = 0
    for fragment in fragments:
        with storage.input_errors(fragment.path, "be read as Parquet"), opened(storage, fragment) as file:
            counts.append(_row_count(file.metadata))
            skipped_at_most = max(skipped_at_most, _most_skipped(file.metadata))
            schema, notes = annotated_schema(file)
            own = zip(schema, file.schema_arrow, strict=True)
            common.mark_converted([field.name for field, stored in own if field.type != stored.type])
            common.add(storage.display_path(fragment.path), schema, notes)
    return ParquetReader(
        storage,
        common.schema,
        sum(counts),
        common.notes,
        common.converted,
        tuple(counts),
        skipped_at_most,
    )


def _row_count(footer: Any) -> int:
    """The rows of a file; some writers count them in the row groups only."""
    in_groups = sum(int(footer.row_group(number).num_rows) for number in range(footer.num_row_groups))
    return max(int(footer.num_rows), in_groups)


def _most_skipped(footer: Any) -> int:
    """How many rows may have to be read to get to one: those before it in its row group, of which wide ones are always
    read whole. Without an end where the row groups do not have the rows that the footer tells."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    if sum(int(group.num_rows) for group in groups) != footer.num_rows:
        return sys.maxsize
    most = footer.num_columns * PAGES_OF_A_COLUMN
    wide = any(min(most, int(group.total_byte_size)) > PAGES_BYTES for group in groups)
    largest = max((int(group.num_rows) for group in groups), default=0)
    return largest * _WIDE_TIMES if wide else largest


def _groups_of(footer: Any, part: range) -> tuple[list[int], int]:
    """The row groups that hold rows `part` of a file, and how many rows of the first come before those."""
    groups: list[int] = []
    skipped = at = 0
    for number in range(footer.num_row_groups):
        stop = at + int(footer.row_group(number).num_rows)
        if at < part.stop and part.start < stop:
            skipped = skipped if groups else part.start - at
            groups.append(number)
        at = stop
    return groups, skipped


def _taken(batches: Iterator[Any], skipped: int, count: int) -> Iterator[Any]:
    """Of the rows, `count` after the first `skipped`. ArrowInvalid where there are fewer."""
    for whole in batches:
        batch = whole.slice(min(skipped, whole.num_rows), count)
        skipped -= whole.num_rows - batch.num_rows if batch.num_rows else whole.num_rows
        skipped, count = max(0, skipped), count - batch.num_rows
        if batch.num_rows:
            yield batch
        if count == 0:
            return
    raise pa.ArrowInvalid("it has fewer rows than its footer tells")


def _gathered(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """The same rows in batches of at most `rows` rows and about BATCH_BYTES."""
    held: list[Any] = []
    count = size = 0
    for batch in batches:
        if held and (count + batch.num_rows > rows or size + batch.nbytes > BATCH_BYTES):
            yield _joined(held)
            held, count, size = [], 0, 0
        held.append(batch)
        count, size = count + batch.num_rows, size + batch.nbytes
    if held:
        yield _joined(held)


def _joined(batches: list[Any]) -> Any:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _rows_of_a_batch(footer: Any, names: Collection[str]) -> int:
    """How many rows make about BATCH_BYTES in the row group with the largest ones."""
    largest = 1
    for number in range(footer.num_row_groups if footer.num_columns < MOST_COLUMNS_WEIGHED else 0):
        group = footer.row_group(number)
        columns = (group.column(place) for place in range(group.num_columns))
        used = (each for each in columns if each.path_in_schema.split(".")[0] in names)
        size = sum(_decoded_bytes(column) for column in used)
        largest = max(largest, size // max(1, group.num_rows))
    return max(1, BATCH_BYTES // largest)


def _decoded_bytes(column: Any) -> int:
    """About how much the values of a column of a row group are, those of a dictionary as often as they come again.

    How many values a dictionary has does not stand in the footer: no more than the bits of a row's code can tell, and where
    rows are sorted, as many as there are runs of the same code, at four bytes each.
    """
    stored: int = column.total_uncompressed_size
    if not column.has_dictionary_page or column.physical_type != "BYTE_ARRAY" or not column.num_values:
        return stored
    packed = column.data_page_offset - column.dictionary_page_offset
    if not 0 < packed < column.data_page_offset:  # some writers leave the offset at 0
        return stored
    codes = max(0, column.total_compressed_size - packed)
    dictionary = min(stored, _BEST_COMPRESSION * packed)
    values = 1 << min(32, -(-8 * codes // column.num_values))
    if dictionary <= _USUAL_DICTIONARY:
        values = max(values, codes // 4)
    row = min(dictionary // min(column.num_values, values), BATCH_BYTES // _FEWEST_ROWS)
    return max(stored, int(row * column.num_values))


@contextmanager
def opened(storage: SourceFilesystem, fragment: Fragment, columns: int = 1) -> Iterator[Any]:
    """A ParquetFile that reads ahead one buffer for each of `columns` and keeps nothing."""
    with _parquet_file(storage.open_random(fragment), _buffer_bytes(storage, columns)) as file:
        yield file


@contextmanager
def _opened_to_read(storage: SourceFilesystem, fragment: Fragment, columns: int) -> Iterator[Any]:
    """The same; large categories come as their values, for `cast_batch` to put back."""
    source, buffer = storage.open_random(fragment), _buffer_bytes(storage, columns)
    with _parquet_file(source, buffer) as file:
        footer = footer_with_texts(file)
        yield file if footer is None else _parquet_file(source, buffer, metadata=footer)


def _buffer_bytes(storage: SourceFilesystem, columns: int) -> int:
    if not storage.local:
        return REMOTE_BLOCK
    return max(_LEAST_BUFFER, min(_LOCAL_BUFFER, _ALL_BUFFERS // columns))


def _parquet_file(source: Any, buffer: int, **options: Any) -> Any:
    # Without pre_buffer, which would hold a whole row group.
    return pq.ParquetFile(source, pre_buffer=False, buffer_size=buffer, **options)
