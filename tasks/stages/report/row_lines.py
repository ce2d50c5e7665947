"""Rows of an output as text for other programs: JSON Lines, or CSV.

Values read as in prompts (`tasks.stages.prompt.values`). Binary, which prompts refuse, is base64; what Python cannot read, such as a
date past the year 9999, is described.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from tasks.stages.prompt import values
from tasks.stages.report.page.samples import cell_text

_BARE = (int, float, bool, type(None))  # no text of theirs needs quotes, and null differs from an empty text
_NEEDS_QUOTES = frozenset(',"\r\n')


def json_lines(batch: pa.RecordBatch) -> bytes:
    """Each row as a JSON object on a line of its own."""
    names = batch.schema.names
    rows = (dict(zip(names, row, strict=True)) for row in _rows(batch))
    return "".join(values.to_json(row) + "\n" for row in rows).encode()


def csv_header(names: Sequence[str]) -> bytes:
    """The line of column names."""
    return _line([_quoted(name) if _NEEDS_QUOTES & {*name} else name for name in names])


def csv_lines(batch: pa.RecordBatch) -> bytes:
    """Each row as a record. Every text is in quotes, with the line ends that it has; null is nothing at all.

    A NUL, at which readers of CSV stop, becomes U+FFFD.
    """
    return b"".join(_line([_csv_cell(value) for value in row]) for row in _rows(batch))


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[values.Cell, ...]]:
    columns = (_values(batch.column(at), batch.schema.field(at)) for at in range(batch.num_columns))
    return zip(*columns, strict=True)


def _values(column: pa.Array, field: pa.Field) -> list[values.Cell]:
    try:
        return values.to_python(column, field)
    except (ValueError, OverflowError, pa.ArrowException):
        if len(column) == 1:
            return [cell_text(column)]
        return [cell for at in range(len(column)) for cell in _values(column.slice(at, 1), field)]


def _csv_cell(value: values.Cell) -> str:
    text = values.b64encode(value) if isinstance(value, bytes) else str(values.to_text(value))
    return text if isinstance(value, _BARE) else _quoted(text.replace("\0", "\ufffd"))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _line(cells: Sequence[str]) -> bytes:
    return (",".join(cells) + "\n").encode()
