"""Open a source dataset: its files found and checked, one schema, and its rows as a stream of record batches."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from configs.errors import InputError
from configs.job import Source
from tasks.stages.arrow_columns import JSON_TEXT, with_used_values
from tasks.stages.read.arrow_files import inspect_arrow
from tasks.stages.read.columns import Selection, check_storable, mentioned_columns, select_columns
from tasks.stages.read.csv_files import inspect_csv
from tasks.stages.read.discover import discover, fingerprint_of, refuse_other_content
from tasks.stages.read.filters import Where, compile_where
from tasks.stages.read.jsonl_files import inspect_jsonl
from tasks.stages.read.parquet_files import ParquetReader, inspect_parquet
from tasks.stages.read.partitions import Partitions, find_partitions
from tasks.stages.read.request_files import ChosenLines, RequestFileReader, inspect_requests
from tasks.storage.source_files import BATCH_BYTES, BadLine, BadLines, Fragment, SourceFilesystem
from tasks.storage.urls import redacted

_MOST_SKIPPED = 1 << 20
"""Rows that are read in vain to begin at another, at most: Arrow's own writer makes row groups as large, and to pass over a
row takes a tenth of what asking it takes."""


class Reader(Protocol):
    """Reads the files of one format."""

    @property
    def schema(self) -> Any:
        """The columns of the files."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is read differently from how the files have it, for people."""

    @property
    def rows(self) -> int | None:
        """How many rows all files have; None where only reading them would tell."""

    @property
    def can_refuse(self) -> Collection[str]:
        """The columns that may hold a value which is refused when it is read."""

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches of at most `rows` rows with the columns `names`; bad lines are raised, or counted in `bad`.

        `where` may be used to leave rows out, and need not be.
        """


@dataclass(frozen=True)
class Dataset:
    """A source, opened and checked; nothing of its rows is held.

    `schema` is that of every batch: the carried columns (`source.columns`, or all of them, partition folders
    last), then the key columns and the columns prompts use where they are not carried. `carried` names those
    that belong in the output. `rows_hint` is the exact number of rows where the format tells it for free
    (Parquet without `where`), else None. `notes` say what differs from the files, for people.
    """

    schema: Any
    carried: tuple[str, ...]
    fragments: tuple[Fragment, ...]
    fingerprint: str
    rows_hint: int | None
    notes: tuple[str, ...]
    _reader: Reader = field(repr=False)
    _selection: Selection = field(repr=False)
    _partitions: Partitions = field(repr=False)
    _where: Where = field(repr=False)
    _limit: int | None = field(repr=False)
    _path: str = field(repr=False)
    _bad: BadLines = field(repr=False, default_factory=BadLines)

    def batches(self, rows: int = 1024) -> Iterator[Any]:
        """Record batches of at most `rows` rows and about BATCH_BYTES, exactly `schema`, in source order; can be called again.

        `where` and `limit` are applied. Raises InputError at a line that cannot be taken, and, before
        anything was yielded, when there is no row at all.
        """
        self._bad.clear()
        remaining = self._limit
        empty = True
        for fragment in self.fragments:
            with closing(self._fragment_batches(fragment, rows)) as batches:
                for whole_batch in batches:
                    batch = whole_batch if remaining is None else whole_batch.slice(0, remaining)
                    empty = False
                    yield batch
                    if remaining is not None:
                        remaining -= batch.num_rows
                        if remaining == 0:
                            return
        if empty:
            raise InputError(self._no_rows())

    @property
    def begins_anywhere(self) -> bool:
        """Whether reading may begin at any row without reading most of those before it: Parquet that nothing filters."""
        reader = self._reader
        return (
            isinstance(reader, ParquetReader)
            and not self._where.clauses
            and reader.skipped_at_most <= _MOST_SKIPPED
        )

    def batches_of(self, wanted: range, rows: int = 1024) -> Iterator[Any]:
        """The same of the rows `wanted`, by their numbers from 0; of a dataset that `begins_anywhere`."""
        assert isinstance(self._reader, ParquetReader)
        at = 0
        for fragment, count in zip(self.fragments, self._reader.counts, strict=True):
            part = range(max(0, wanted.start - at), min(count, wanted.stop - at))
            if part:
                of_part = replace(self, _reader=replace(self._reader, part=part))
                with closing(of_part._fragment_batches(fragment, rows)) as batches:
                    yield from batches
            at += count

    def with_fewer_columns(self, used: Collection[str]) -> Dataset:
        """The same rows, and every error that reading them would raise, with the columns `used` and few others."""
        wanted = {*used, *self._reader.can_refuse} or {*self.schema.names[:1]}
        names = tuple(name for name in self.schema.names if name in wanted)
        return replace(
            self,
            schema=pa.schema([self.schema.field(name) for name in names]),
            carried=tuple(name for name in self.carried if name in wanted),
            _selection=Selection(names, (), self._selection.filtered),
            _bad=self._bad,
        )

    def of_lines(self, chosen: ChosenLines) -> Dataset:
        """Of a file of ready requests, the rows of some lines; they are read as if there were no others."""
        assert isinstance(self._reader, RequestFileReader)
        return replace(self, _reader=replace(self._reader, chosen=chosen), _limit=None, _bad=BadLines())

    @property
    def bad_lines(self) -> tuple[BadLine, ...]:
        """The first lines left out by the latest `batches()`, at most twenty (`bad_lines: skip`)."""
        return tuple(self._bad.examples)

    @property
    def bad_line_count(self) -> int:
        """How many lines the latest `batches()` left out so far."""
        return self._bad.total

    def _fragment_batches(self, fragment: Fragment, rows: int) -> Generator[Any, None, None]:
        """The batches of one file, with the columns of its partition folders, `where` applied."""
        constants = self._partitions.values(fragment)
        if not self._where.may_hold(constants):
            return
        names = tuple(name for name in self._selection.read if name not in constants)
        # The rows of a file have to be counted even when only its folders' values are asked for.
        names = names or (self._reader.schema.names[0],)
        with closing(self._reader.read(fragment, names, rows, self._where, self._bad)) as batches:
            for batch in batches:
                selected = self._where.apply(_with_constants(batch, constants))
                columns = [selected.column(name) for name in self.schema.names]
                yield from _cut(pa.RecordBatch.from_arrays(columns, schema=self.schema))

    def _no_rows(self) -> str:
        if self._where.clauses:
            return f"{self._path}: has no rows that satisfy source.where; check its values and the path"
        return f"{self._path}: has no rows; check source.path"


def open_dataset(source: Source, extra_columns: Collection[str] = ()) -> Dataset:
    """Find the files, read what describes them and check every column the job mentions.

    `extra_columns` are the columns that prompts use. Parquet costs a footer a file, CSV a header, JSON Lines
    one pass over the whole file (its types). Raises InputError; a Parquet dataset without any row is refused
    here already, others by `Dataset.batches`.
    """
    storage, fragments = discover(source)
    reader = _inspect(storage, fragments, source, mentioned_columns(source, extra_columns))
    partitions = find_partitions(storage, fragments, reader.schema.names, source.types)
    everything = pa.schema([*reader.schema, *partitions.fields])
    path = redacted(source.path)
    if not everything.names:
        raise InputError(f"{path}: has no columns; check source.path")
    selection = select_columns(source, extra_columns, everything.names, path)
    _check_types_apply(source, fragments[0], partitions, path)
    _check_keys(source, reader.schema, path)
    where = compile_where(source.where, everything, path)
    if reader.rows == 0:
        raise InputError(f"{path}: has no rows; check source.path")
    check_storable(everything, selection.names, path)
    rows = None if where.clauses or reader.rows is None else min(reader.rows, source.limit or reader.rows)
    return Dataset(
        schema=pa.schema(
            [everything.field(name) for name in selection.names], _metadata(reader.schema, selection.carried)
        ),
        carried=selection.carried,
        fragments=fragments,
        fingerprint=fingerprint_of(storage, fragments),
        rows_hint=rows,
        notes=reader.notes,
        _reader=reader,
        _selection=selection,
        _partitions=partitions,
        _where=where,
        _limit=source.limit,
        _path=path,
    )


def column_names(source: Source) -> list[str]:
    """The names of the columns that templates can use, whatever else differs between the files. Raises InputError."""
    storage, fragments = discover(source)
    some = fragments if fragments[0].format == "jsonl" else fragments[:1]
    names = _inspect(storage, some, source, frozenset()).schema.names
    return [*names, *find_partitions(storage, fragments, names, source.types).names]


def row_count_without_reading(source: Source) -> int | None:
    """How many rows there are, where that is known without reading them (Parquet). InputError when there is no source."""
    _, fragments = discover(source)
    return open_dataset(source).rows_hint if fragments[0].format == "parquet" else None


def _metadata(schema: Any, carried: Collection[str]) -> dict[bytes, bytes]:
    """What the files say of themselves; GeoParquet's part only together with all the columns it is about."""
    metadata = dict(schema.metadata or {})
    with suppress(ValueError, AttributeError):
        about = json.loads(metadata.get(b"geo", b"{}")).get("columns", {})
        if not set(about) <= set(carried):
            del metadata[b"geo"]
    return metadata


def _inspect(
    storage: SourceFilesystem, fragments: tuple[Fragment, ...], source: Source, only: frozenset[str] | None
) -> Reader:
    if fragments[0].format not in ("parquet", "arrow"):
        for fragment in fragments if storage.local else fragments[:1]:  # one request a file is too many
            refuse_other_content(storage, fragment)
    match fragments[0].format:
        case "parquet":
            return inspect_parquet(storage, fragments, only)
        case "arrow":
            return inspect_arrow(storage, fragments, only)
        case "csv":
            return inspect_csv(storage, fragments, source, only)
        case "jsonl":
            return inspect_jsonl(storage, fragments, skip=source.bad_lines == "skip")
        case "requests":
            return inspect_requests(storage, fragments, skip=source.bad_lines == "skip")


def _check_types_apply(source: Source, fragment: Fragment, partitions: Partitions, path: str) -> None:
    if fragment.format == "csv":
        return
    unused = sorted(set(source.types) - set(partitions.names))
    if unused:
        raise InputError(
            f"{path}: source.types names {unused[0]!r}, but {fragment.format} files bring their own types; remove it"
        )


def _check_keys(source: Source, schema: Any, path: str) -> None:
    for key in source.key_columns:
        if key in schema.names and JSON_TEXT.items() <= (schema.field(key).metadata or {}).items():
            raise InputError(
                f"{path}: source.key names {key!r}, which is text in some rows and something else in others;"
                " write it one way throughout, e.g. as text in quotes"
            )


def _cut(batch: Any) -> Iterator[Any]:
    """The rows in batches of about BATCH_BYTES, or of one row."""
    size = batch.nbytes + sum(_repeated_bytes(column) for column in batch.columns)
    if max(size, batch.nbytes) <= BATCH_BYTES:
        yield batch
        return
    rows = max(1, batch.num_rows * BATCH_BYTES // max(1, size))
    for start in range(0, batch.num_rows, rows):
        columns = [with_used_values(column) for column in batch.slice(start, rows).columns]
        yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _repeated_bytes(column: Any) -> int:
    """About how much more a dictionary's values are where each stands in its rows; less, where most have none."""
    if not pa.types.is_dictionary(column.type):
        return 0
    values = column.dictionary
    return int(values.nbytes * (len(column) - len(values)) // max(1, len(values)))


def _with_constants(batch: Any, constants: dict[str, Any]) -> Any:
    if not constants:
        return batch
    columns = [*batch.columns, *(pa.repeat(value, batch.num_rows) for value in constants.values())]
    return pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, *constants])
