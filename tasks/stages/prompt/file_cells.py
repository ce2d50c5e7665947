"""The files that the cells of a dataset hold or name, read a few rows at a time: however large they are, few are held at once.

A cell is a text (a file's name), binary (its content), a struct of `bytes` and `path` as Hugging Face's datasets write them, of which
`bytes` goes first, or a list of those. A null, and a text without any character but blanks, is no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pyarrow as pa

from configs.errors import ConfigError
from configs.job import Source
from tasks.stages.prompt.values import to_python
from tasks.storage.file_roots import FileRefused, FileRoots
from tasks.storage.prefetch import map_in_threads
from tasks.storage.urls import one_line

MAX_ROW_BYTES: Final = 64 << 20
"""Of all cells, and of all files, that one row's prompt uses: as requests and Python values they take many times that."""
HELD_BYTES: Final = 8 << 20
"""Of the files that are held together, unless one row has more."""
_READ_AHEAD_BYTES: Final = 128 << 20  # of the files that are being read, were all of them as large as may be
_MOST_THREADS: Final = 8


class RowFile(NamedTuple):
    """A file of a row: its name, empty for binary cells, and its content or why there is none."""

    name: str
    content: bytes | FileRefused

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content) if isinstance(self.content, bytes) else 0


Files = Mapping[str, Sequence[Sequence[RowFile]]]
"""By column, the files of each row of a batch."""
NO_FILES: Final[Files] = MappingProxyType({})


class HeldRows(NamedTuple):
    """Rows `start:stop` of a batch with their files."""

    start: int
    stop: int
    files: Files

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """These rows of the batch."""
        return batch.slice(self.start, self.stop - self.start)

    @property
    def count_and_bytes(self) -> tuple[int, int]:
        """How many files were read, and how large they are together."""
        found = (file for rows in self.files.values() for row in rows for file in row)
        sizes = [file.size for file in found if isinstance(file.content, bytes)]
        return len(sizes), sum(sizes)


class FileReader:
    """Reads the files of `columns`, of at most `max_bytes` each, with `read`, which raises FileRefused for one that is not to be
    read."""

    def __init__(self, columns: Sequence[str], read: Callable[[str], bytes], max_bytes: int) -> None:
        self._columns, self._read, self._max_bytes = columns, read, max_bytes

    def held_rows(self, batch: pa.RecordBatch) -> Iterator[HeldRows]:
        """The batch in consecutive runs of rows, each with its files: of about HELD_BYTES, or one row."""
        if not self._columns:
            yield HeldRows(0, batch.num_rows, NO_FILES)
            return
        start = held = 0
        rows: list[list[list[RowFile]]] = []
        for row in self._rows(batch):
            size = sum(file.size for files in row for file in files)
            if rows and held + size > HELD_BYTES:
                yield self._held(start, rows)
                start, rows, held = start + len(rows), [], 0
            rows.append(row)
            held += size
        if rows:
            yield self._held(start, rows)

    def _held(self, start: int, rows: Sequence[Sequence[list[RowFile]]]) -> HeldRows:
        files = zip(*rows, strict=True)
        return HeldRows(start, start + len(rows), dict(zip(self._columns, files, strict=True)))

    def _rows(self, batch: pa.RecordBatch) -> Iterator[list[list[RowFile]]]:
        """The files of each row by column."""
        cells = [[files_of(cell) for cell in _cells(batch, column)] for column in self._columns]
        wanted = (file for row in zip(*cells, strict=True) for files in row for file in files)
        threads = min(_MOST_THREADS, max(1, _READ_AHEAD_BYTES // self._max_bytes))
        contents = map_in_threads(self._with_content, wanted, threads)
        for row in zip(*cells, strict=True):
            size = 0
            made: list[list[RowFile]] = []
            for files in row:
                made.append([])
                for _ in files:
                    file = next(contents)
                    size += file.size
                    made[-1].append(file if size <= MAX_ROW_BYTES else RowFile(file.name, _TOO_MUCH))
            yield made

    def _with_content(self, file: RowFile) -> RowFile:
        if isinstance(file.content, FileRefused):
            return file
        content: bytes | FileRefused = file.content
        if not content and file.name:
            try:
                content = self._read(file.name)
            except FileRefused as refused:
                content = refused
        return RowFile(file.name, content)


def file_reader(source: Source, columns: Sequence[str]) -> FileReader:
    """What reads the files that `columns` of a source hold or name. InputError for roots that are not there."""
    files = source.files
    roots = FileRoots(files.roots if columns else (), source.path, files.max_bytes)
    return FileReader(columns, roots.read, files.max_bytes)


_TOO_MUCH: Final = FileRefused("file_too_large", f"the files of a row are more than {MAX_ROW_BYTES:,} bytes")


def files_of(cell: Any) -> list[RowFile]:
    """The files of a cell, without the content of those that it only names."""
    if isinstance(cell, list | tuple):
        return [file for item in cell for file in files_of(item)]
    if isinstance(cell, str):
        return [RowFile(cell, b"")] if cell.strip() else []
    if isinstance(cell, bytes):
        return [RowFile("", cell)]
    if isinstance(cell, dict) and cell.keys() & {"bytes", "path"}:
        held, path = cell.get("bytes"), cell.get("path")
        if isinstance(held, bytes) and held:
            return [RowFile(path if isinstance(path, str) else "", held)]
        return files_of(path)
    if cell is None:
        return []
    if isinstance(cell, FileRefused):
        return [RowFile("", cell)]
    problem = f"a file's name, binary or a struct of bytes and path is due, not {type(cell).__name__}"
    return [RowFile("", FileRefused("file_unsupported", problem))]


def _cells(batch: pa.RecordBatch, column: str) -> list[Any]:
    """The column's cells; in place of one that Python cannot hold, why its row has no file."""
    try:
        return to_python(batch.column(column), batch.schema.field(column))
    except (ValueError, OverflowError, pa.ArrowException) as error:  # a text that is no UTF-8
        if batch.num_rows == 1:
            return [FileRefused("file_unsupported", f"the cell cannot be read ({one_line(error)})")]
        return [cell for row in range(batch.num_rows) for cell in _cells(batch.slice(row, 1), column)]


def check_columns(schema: pa.Schema, columns: Sequence[str], source: Source) -> None:
    """ConfigError where cells name files, and none may be read."""
    for column in columns:
        if not source.files.roots and _names_files(schema.field(column).type):
            raise ConfigError(
                f"source.files.roots: the prompt sends the files that column {column!r} names; list the folders from which"
                " they may be read, e.g. roots: [images/]"
            )


def _names_files(kind: pa.DataType) -> bool:
    """Whether cells of that type can hold nothing but names."""
    types = pa.types
    if types.is_dictionary(kind):
        return _names_files(kind.value_type)
    if any(is_kind(kind) for is_kind in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
        return _names_files(kind.value_field.type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
