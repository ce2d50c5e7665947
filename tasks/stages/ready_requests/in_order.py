"""Bring the enriched rows of several groups of requests back into the order of their file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.stages import arrow_columns

_LINE: Final = "line"
_ROWS: Final = 1_024  # of each group that are held at once
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
Part = Iterable[pa.RecordBatch]


def read_part(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    """The rows of one chunk, some at a time, and never more than a row group's."""
    parquet = pq.ParquetFile(file)
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(_ROWS, [group], use_threads=False)


def common_schema(schemas: Sequence[pa.Schema], answer: str) -> pa.Schema:
    """The schema of all groups' rows: where their answers differ in type, they are text, JSON of what is none."""
    types = {schema.field(answer).type for schema in schemas}
    if len(types) == 1:
        return schemas[0]
    return schemas[0].set(schemas[0].get_field_index(answer), pa.field(answer, pa.string()))


def in_order(groups: Sequence[Part], schema: pa.Schema, answer: str) -> Iterator[pa.Table]:
    """The rows of all groups by their line, as `schema`; each group's own are in order already. Some rows of each are held."""
    heads = [_Group(iter(group), schema, answer) for group in groups]
    while heads := [head for head in heads if head.has_rows]:
        # Of every group all rows up to there are held, so that they can be put in order at once.
        last = min(head.last_line for head in heads)
        rows = pa.Table.from_batches([head.rows_until(last) for head in heads], schema)
        lines = arrow_columns.to_numpy(arrow_columns.combined(rows.column(_LINE)))
        yield rows.take(arrow_columns.indices(np.argsort(lines)))


class _Group:
    """The rows of one group that are next."""

    def __init__(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, answer: str) -> None:
        self._batches, self._schema, self._answer = batches, schema, answer
        self._rows: pa.RecordBatch | None = None
        self._lines = np.zeros(0, np.int64)
        self._fill()

    @property
    def has_rows(self) -> bool:
        """Whether any are left."""
        return self._rows is not None

    @property
    def last_line(self) -> int:
        """Of the rows that are held."""
        return int(self._lines[-1])

    def rows_until(self, line: int) -> pa.RecordBatch:
        """The next rows up to that line, one of those that are held."""
        assert self._rows is not None
        count = int(np.searchsorted(self._lines, line, side="right"))
        rows, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        self._lines = self._lines[count:]
        if not len(self._lines):
            self._fill()
        return rows

    def _fill(self) -> None:
        self._rows = None
        for batch in self._batches:
            if batch.num_rows:
                self._rows = _as(batch, self._schema, self._answer)
                self._lines = arrow_columns.to_numpy(batch.column(_LINE))
                return


def _as(batch: pa.RecordBatch, schema: pa.Schema, answer: str) -> pa.RecordBatch:
    at = schema.get_field_index(answer)
    columns = batch.columns
    if columns[at].type != schema.field(at).type:
        columns[at] = arrow_columns.strings(_as_texts(columns[at]))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as_texts(answers: pa.Array) -> list[str | None]:
    """Answers as JSON; the numbers of vectors in as few digits as tell them apart."""
    is_vector = pa.types.is_list(answers.type) and pa.types.is_float32(answers.type.value_type)
    values = answers.to_pylist() if not is_vector else map(_vector, answers)
    return [None if value is None else orjson.dumps(value, option=_NUMPY).decode() for value in values]


def _vector(answer: pa.Scalar) -> object:
    return arrow_columns.to_numpy(answer.values) if answer.is_valid else None
