"""Read Arrow's own files (also Feather 2) and streams: every type untouched, one record batch of the file at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from tasks.stages.read.common_schema import CommonSchema, cast_batch
from tasks.stages.read.filters import Where
from tasks.storage.source_files import BadLines, Fragment, SourceFilesystem
from tasks.storage.urls import one_line

_FILE_MAGIC = b"ARROW1"
_TEXTS: tuple[Callable[[Any], bool], ...] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
)


@dataclass(frozen=True)
class ArrowReader:
    """Reads the Arrow files of a dataset; `schema` is that of the files.

    `can_refuse` are the columns that are read as another type than some file has.
    """

    storage: SourceFilesystem
    schema: Any
    notes: tuple[str, ...]
    can_refuse: frozenset[str]
    rows: int | None = field(default=None, init=False)

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches with the columns `names`."""
        del where, bad  # there are no statistics and no lines
        schema = pa.schema([self.schema.field(name) for name in names])
        with self.storage.input_errors(fragment.path):
            for whole in _batches(self.storage, fragment):
                _refuse_damage(whole, names)
                for start in range(0, whole.num_rows, rows):
                    batch = whole.slice(start, rows)
                    yield cast_batch(batch, schema, self.storage.display_path(fragment.path))


def inspect_arrow(
    storage: SourceFilesystem, fragments: tuple[Fragment, ...], only: frozenset[str] | None
) -> ArrowReader:
    """Read the files' schemas and check that they fit together, and into the output. Raises InputError."""
    first_path = storage.display_path(fragments[0].path)
    common = CommonSchema(first_path, only)
    for fragment in fragments:
        with storage.input_errors(fragment.path, "be read as Arrow"):
            common.add(storage.display_path(fragment.path), _schema(storage, fragment), {})
    for each in common.used:
        _check_output_can_hold(each, first_path)
    return ArrowReader(storage, common.schema, common.notes, common.converted)


def _opened(storage: SourceFilesystem, fragment: Fragment) -> Any:
    file = (
        pa.memory_map(fragment.path)
        if storage.local and fragment.size
        else pa.input_stream(storage.open_random(fragment))
    )
    is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    file.seek(0)
    return pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)


def _schema(storage: SourceFilesystem, fragment: Fragment) -> Any:
    with _opened(storage, fragment) as reader:
        return reader.schema


def _batches(storage: SourceFilesystem, fragment: Fragment) -> Iterator[Any]:
    with _opened(storage, fragment) as reader:
        if isinstance(reader, pa.RecordBatchFileReader):
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield from reader


def _refuse_damage(batch: Any, names: tuple[str, ...]) -> None:
    """ArrowInvalid for offsets that point elsewhere: to follow them ends the process.

    A text that is no UTF-8 is left to its row.
    """
    for name in names:
        column = batch.column(name)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if not (any(is_text(column.type) for is_text in _TEXTS) and "UTF8" in str(error)):
                raise


def _check_output_can_hold(each: Any, path: str) -> None:
    """InputError for a type that Arrow has and Parquet, which the output is, has not."""
    try:
        pq.write_table(pa.schema([each]).empty_table(), io.BytesIO())
    except (pa.ArrowException, NotImplementedError, OSError) as error:
        raise InputError(
            f"{path}: column {each.name!r} is {each.type}, which Parquet cannot hold ({one_line(error)});"
            " leave it out with source.columns"
        ) from error
