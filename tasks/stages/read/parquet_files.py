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

from configs.errors import InputError
from tasks.stages.read.columns import check_distinct_names, check_same_columns
from tasks.stages.read.filters import Where
from tasks.stages.read.wide_row_groups import MOST_COLUMNS_WEIGHED, batches_of
from tasks.stages.read.widening import widened
from tasks.storage.source_files import BATCH_BYTES, REMOTE_BLOCK, BadLines, Fragment, SourceFilesystem
from tasks.storage.urls import one_line

_LOCAL_BUFFER = 1 << 20
_ALL_BUFFERS = 16 << 20
_LEAST_BUFFER = 1 << 16
_FEWEST_ROWS = (
    32  # to decode at a time by a guess at a dictionary's values: a wrong one must not cost a call a row
)
_USUAL_DICTIONARY = 2 << 20  # twice what writers allow unless they are told otherwise
_BEST_COMPRESSION = 50  # of a dictionary of texts; a short one of 30 bytes is not taken for a long one
_OF_THE_FILE = (b"pandas",)  # says where the file's index is, which an output with more columns does not have
_LOST = ("GEOMETRY", "GEOGRAPHY", "VARIANT")


@dataclass(frozen=True)
class ParquetReader:
    """Reads the Parquet files of a dataset; `schema` is that of the files, `rows` their total."""

    storage: SourceFilesystem
    schema: Any
    rows: int
    notes: tuple[str, ...] = ()
    widened: frozenset[str] = frozenset()

    @property
    def can_refuse(self) -> frozenset[str]:
        """The columns whose values may not fit the dataset's type: those that were widened."""
        return self.widened

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
            some = min(rows, _rows_of_a_batch(file.metadata, frozenset(names)))
            for batch in _gathered(batches_of(file, groups, names, some), rows):
                yield cast_batch(batch, schema, self.storage.display_path(fragment.path))

    def _groups(self, fragment: Fragment, where: Where) -> list[int] | None:
        """The row groups that may hold rows for `where`, by their statistics; None for all of them."""
        expression = where.expression(self.schema.names)
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
    fields: dict[str, Any] = {}
    notes: dict[str, None] = {}
    widened_columns: set[str] = set()
    metadata: dict[bytes, bytes] = {}
    first_path = storage.display_path(fragments[0].path)
    rows = 0
    for number, fragment in enumerate(fragments):
        path = storage.display_path(fragment.path)
        with storage.input_errors(fragment.path, "be read as Parquet"), opened(storage, fragment) as file:
            rows += _row_count(file.metadata)
            schema = _with_annotations(file, notes, path)
        check_distinct_names(schema.names, path, only)
        if number == 0:
            fields = {field.name: _without_id(field) for field in schema}
            metadata = {k: v for k, v in (schema.metadata or {}).items() if k not in _OF_THE_FILE}
        else:
            check_same_columns(path, schema.names, first_path, fields, only)
            for field in schema:
                if field.name in fields and (only is None or field.name in only):
                    before = fields[field.name]
                    fields[field.name] = common_field(before, field, path, first_path)
                    if before.type != field.type:
                        widened_columns.add(field.name)
                        _note_widening(before, field, fields[field.name], notes)
    return ParquetReader(
        storage, pa.schema(list(fields.values()), metadata), rows, tuple(notes), frozenset(widened_columns)
    )


def _note_widening(before: Any, field: Any, common: Any, notes: dict[str, None]) -> None:
    if not (pa.types.is_null(before.type) or pa.types.is_null(field.type)):
        notes[
            f"column {field.name!r} is {before.type} in some files and {field.type} in others, read as {common.type}"
        ] = None


def _row_count(footer: Any) -> int:
    """The rows of a file; some writers count them in the row groups only."""
    in_groups = sum(int(footer.row_group(number).num_rows) for number in range(footer.num_row_groups))
    return max(int(footer.num_rows), in_groups)


def _with_annotations(file: Any, notes: dict[str, None], path: str) -> Any:
    """The schema with the text that Parquet calls ENUM as text; what else Arrow cannot carry goes into `notes`."""
    schema = file.schema_arrow
    leaves = file.schema
    for number in range(len(leaves) if len(leaves) < MOST_COLUMNS_WEIGHED else 0):
        leaf = leaves.column(number)
        kind = str(leaf.logical_type.type)
        place = schema.get_field_index(leaf.path)
        if kind == "ENUM" and place >= 0:
            schema = schema.set(place, schema.field(place).with_type(pa.string()))
        elif kind in _LOST or (kind == "TIME" and '"isAdjustedToUTC": true' in leaf.logical_type.to_json()):
            notes[f"{path}: column {leaf.path!r} loses its Parquet annotation {kind}"] = None
    return schema


def _without_id(field: Any) -> Any:
    metadata = {k: v for k, v in (field.metadata or {}).items() if k != b"PARQUET:field_id"}
    return field.with_metadata(metadata or None)


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
    # Without pre_buffer, which would hold a whole row group.
    buffer = (
        max(_LEAST_BUFFER, min(_LOCAL_BUFFER, _ALL_BUFFERS // columns)) if storage.local else REMOTE_BLOCK
    )
    source = storage.open_random(fragment)
    with pq.ParquetFile(source, pre_buffer=False, buffer_size=buffer) as file:
        yield file


def common_field(known: Any, field: Any, path: str, first_path: str) -> Any:
    """One field for both files, with the narrowest type that holds both."""
    type_ = widened(known.type, field.type)
    if type_ is not None:
        return known.with_type(type_).with_nullable(known.nullable or field.nullable)
    raise InputError(
        f"{path}: column {field.name!r} is {field.type}, but {known.type} in {first_path}; write both with one type"
    )


def cast_batch(batch: Any, schema: Any, path: str) -> Any:
    """The batch with the types of the dataset. InputError for a value that the wider type cannot hold exactly."""
    columns = []
    for field in schema:
        column = batch.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{path}: column {field.name!r} holds a value that is no {field.type} ({one_line(error)}); "
                "write all files with one type"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)
