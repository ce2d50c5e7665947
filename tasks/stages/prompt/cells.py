"""The cells of a micro-batch, as templates read them: as Python values, or as the texts that go into JSON.

Most templates do nothing with a cell but print it. Its text need then never become a Python string: the bytes are cut out
of Arrow's column and escaped where they have to be, which takes a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import orjson
import pyarrow as pa

from tasks.stages.arrow_columns import JSON_TEXT
from tasks.stages.prompt.row_errors import RowError, reason
from tasks.stages.prompt.values import Cell, to_python, to_text

_ESCAPES: Final = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))
_CONTROLS: Final = (b"\n", b"\r", b"\t")  # those among them
_FIRST_PRINTABLE: Final = 0x20


class Cells(Mapping[str, list[Cell]]):
    """Columns of a record batch by their names, each read when it is first asked for.

    `RowError`: a cell is no UTF-8, or a date past the year 9999, which Arrow holds and Python cannot.
    """

    def __init__(self, batch: pa.RecordBatch, names: Sequence[str]) -> None:
        self._batch, self._names = batch, names
        self._values: dict[str, list[Cell]] = {}
        self._texts: dict[str, list[bytes]] = {}

    def __getitem__(self, name: str) -> list[Cell]:
        """The cells as Python values."""
        if name not in self._values:
            try:
                self._values[name] = to_python(self._batch.column(name), self._batch.schema.field(name))
            except (ValueError, OverflowError, pa.ArrowException) as error:
                raise RowError(f"column {name!r}: {reason(error)}") from error
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def json_texts(self, name: str) -> list[bytes]:
        """What printing each cell writes, escaped for JSON, without the quotes. `TypeError`: a cell that cannot be printed."""
        if name not in self._texts:
            self._texts[name] = self._cut_out(name) or self._printed(name)
        return self._texts[name]

    def _cut_out(self, name: str) -> list[bytes] | None:
        """The texts of a column of strings; None for any other."""
        field = self._batch.schema.field(name)
        if not pa.types.is_string(field.type) or JSON_TEXT.items() <= (field.metadata or {}).items():
            return None
        column = self._batch.column(name)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:  # Arrow takes any bytes for text
            return None
        return _texts_of(column.fill_null("") if column.null_count else column)

    def _printed(self, name: str) -> list[bytes]:
        return [orjson.dumps(str(to_text(value)))[1:-1] for value in self[name]]


def _texts_of(column: pa.Array) -> list[bytes]:
    """The texts of a column of strings without nulls."""
    ends = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    start, size = int(ends[0]), int(ends[-1] - ends[0])
    if not size:
        return [b""] * len(column)
    joined = column.buffers()[2].slice(start, size).to_pybytes()
    places = (ends - start).tolist()
    texts = [joined[at:end] for at, end in pairwise(places)]
    return _escaped(texts, joined)


def _escaped(texts: list[bytes], joined: bytes) -> list[bytes]:
    controls = int(np.count_nonzero(np.frombuffer(joined, np.uint8) < _FIRST_PRINTABLE))
    if controls and controls > sum(map(joined.count, _CONTROLS)):
        return [orjson.dumps(text.decode())[1:-1] for text in texts]
    for plain, escaped in _ESCAPES:
        if plain in joined:
            texts = [text.replace(plain, escaped) for text in texts]
    return texts
