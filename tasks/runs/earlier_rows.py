"""The answers that a chunk's rows take over, read from the enriched rows of the runs that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import IntegrityError
from tasks.stages import arrow_columns
from tasks.stages.merge.taken_over import MAY_LACK, TAKEN_OVER
from tasks.stages.output_columns import prefix_of
from tasks.stages.prompt.recall import Numbers
from tasks.storage.temporary import mapped, nameless_file

_NEXT_STEP: Final = "put it back from a backup, or --redo asks all rows again"
Opener = Callable[[str, int], BinaryIO]
"""Opens the enriched rows of (run folder, chunk). FileNotFoundError where they are gone."""


@dataclass(frozen=True)
class _Group:
    """Rows of this chunk (`places`) and those of another's that they take (`rows`, ascending)."""

    folder: str
    chunk: int
    places: Numbers
    rows: Numbers


class EarlierRows:
    """The rows of `lines` (a chunk's table) that take an earlier answer.

    `opener` opens a source. `own` opens what this chunk's merge wrote before, for sources that are gone since: a run's folder
    is kept until every run that was prepared with it is over, but a finished run may be merged once more.
    """

    def __init__(self, lines: pa.Table, opener: Opener, own: Callable[[], BinaryIO]) -> None:
        self._opener, self._own = opener, own
        self._groups = list(_groups(lines))
        self.rows = sum(len(group.rows) for group in self._groups)
        self.saved_usd = _sum(lines) if self.rows else 0.0
        self._place = np.full(lines.num_rows, -1, np.int64)
        self._batches: list[pa.RecordBatch] = []

    @property
    def vector_size(self) -> int | None:
        """How long the first answer is, where answers are vectors."""
        if not self._groups:
            return None
        file, _, _ = self._open(self._groups[0])
        with file:
            schema = pq.ParquetFile(file).schema_arrow
        kind = schema.field(prefix_of(schema.names) + "answer").type
        return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else None

    def gather(self, types: Mapping[str, pa.DataType]) -> None:
        """Copy the answers' columns to this machine's disk, source by source: whatever order this chunk's rows have, each
        source is read once, a row group at a time."""
        schema = pa.schema([(name, types[name]) for name in TAKEN_OVER if name in types])
        file = nameless_file()
        done = 0
        with pa.ipc.new_stream(file, schema) as writer:
            for group in self._groups:
                file_of_group, places, rows = self._open(group)
                self._place[places] = np.arange(done, done + len(places))
                done += len(places)
                with file_of_group:
                    for table in _read(file_of_group, rows, group, schema):
                        writer.write_table(table)
        if done:
            file.flush()
            self._batches = list(pa.ipc.open_stream(mapped(file)))
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def take(self, lo: int, hi: int) -> dict[str, pa.Array]:
        """The columns of those of the rows lo..hi that take an answer over, in their order."""
        places = self._place[lo:hi]
        places = places[places >= 0]
        order = np.argsort(places)
        ordered = places[order]
        cuts = np.searchsorted(ordered, self._starts)
        pieces = [
            batch.take(arrow_columns.indices(ordered[start:stop] - first))
            for batch, first, start, stop in zip(
                self._batches, self._starts.tolist(), cuts.tolist(), cuts[1:].tolist(), strict=False
            )
            if stop > start
        ]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return {
            name: pa.concat_arrays([piece.column(name) for piece in pieces]).take(arrow_columns.indices(back))
            for name in pieces[0].schema.names
        }

    def _open(self, group: _Group) -> tuple[BinaryIO, Numbers, Numbers]:
        """The source's file, this chunk's places, and the rows in the file that they take, ascending."""
        try:
            return self._opener(group.folder, group.chunk), group.places, group.rows
        except FileNotFoundError:
            own_places = np.sort(group.places)
        try:
            return self._own(), own_places, own_places
        except FileNotFoundError as error:
            raise IntegrityError(
                f"{group.folder}: rows of this run take over what chunk {group.chunk} of it answered, and it is gone;"
                f" {_NEXT_STEP}"
            ) from error


def _read(file: BinaryIO, rows: Numbers, group: _Group, schema: pa.Schema) -> Iterator[pa.Table]:
    try:
        yield from _taken(pq.ParquetFile(file), rows, _run_name(group.folder), schema)
    except (pa.ArrowException, KeyError) as error:
        raise IntegrityError(
            f"{group.folder}: rows of this run take over what chunk {group.chunk} of it answered, and it cannot be read"
            f" ({error}); {_NEXT_STEP}"
        ) from error


def rows_copied(lines: pa.Table, merged: Callable[[], BinaryIO]) -> EarlierRows:
    """The rows of a chunk that get the outcome of another row of it, which is in what was merged."""
    same_as = arrow_columns.combined(lines.column("same_as"))
    copies = same_as.is_valid()
    own = pa.table(
        {
            "reuse_run": pc.if_else(
                copies, *(arrow_columns.scalar(each, pa.string()) for each in ("", None))
            ),
            "reuse_chunk": pc.if_else(
                copies, *(arrow_columns.scalar(each, pa.int32()) for each in (0, None))
            ),
            "reuse_row": same_as,
            "reuse_usd": pa.nulls(len(same_as), pa.float64()),
        }
    )
    return EarlierRows(own, lambda _folder, _chunk: merged(), merged)


def _groups(lines: pa.Table) -> Iterator[_Group]:
    """By source, in the order of its rows."""
    if "reuse_run" not in lines.column_names:
        return
    runs = arrow_columns.combined(lines.column("reuse_run")).dictionary_encode()
    folder = arrow_columns.to_numpy(runs.indices, -1)
    chunk, row = (_numbers(lines.column(name)) for name in ("reuse_chunk", "reuse_row"))
    order = np.lexsort((row, chunk, folder))
    order = order[folder[order] >= 0]
    changes = (np.diff(folder[order]) != 0) | (np.diff(chunk[order]) != 0)
    for places in np.split(order, np.flatnonzero(changes) + 1):
        if len(places):
            name = runs.dictionary[int(folder[places[0]])].as_py()
            yield _Group(name, int(chunk[places[0]]), places, row[places])


def _taken(file: pq.ParquetFile, rows: Numbers, run: str, schema: pa.Schema) -> Iterator[pa.Table]:
    there = frozenset(file.schema_arrow.names)
    prefix = prefix_of(file.schema_arrow.names)
    names = [name for name in schema.names if name not in MAY_LACK or prefix + name in there]
    first = 0
    for group in range(file.num_row_groups):
        stop = first + file.metadata.row_group(group).num_rows
        wanted = rows[slice(*np.searchsorted(rows, [first, stop]))] - first
        first = stop
        if len(wanted):
            table = _with_others(file.read_row_group(group, [prefix + name for name in names]), schema, names)
            table = table.take(arrow_columns.indices(wanted))
            if run:
                named = pc.fill_null(table.column("reused_from"), arrow_columns.scalar(run, pa.string()))
                table = table.set_column(table.schema.get_field_index("reused_from"), "reused_from", named)
            yield table.cast(schema)
    if len(rows) and int(rows[-1]) >= first:
        raise KeyError(f"it has {first:,} rows, not {int(rows[-1]) + 1:,}")


def _with_others(table: pa.Table, schema: pa.Schema, names: list[str]) -> pa.Table:
    """The table, which has the columns `names`, with null in those that its run did not have."""
    columns = dict(zip(names, table.columns, strict=True))
    nothing = {name: pa.nulls(table.num_rows, schema.field(name).type) for name in schema.names}
    return pa.table({name: columns.get(name, nothing[name]) for name in schema.names})


def _run_name(folder: str) -> str:
    """`job/key` of `job/key@2`; nothing for the chunk's own rows."""
    return folder.partition("@")[0]


def _sum(lines: pa.Table) -> float | None:
    """What the answers cost when they were bought; None where that of any is unknown."""
    usd = lines.column("reuse_usd").filter(lines.column("reuse_run").is_valid())
    return None if usd.null_count else float(pc.sum(usd).as_py())


def _numbers(column: pa.ChunkedArray) -> Numbers:
    return arrow_columns.to_numpy(arrow_columns.combined(column), -1)
