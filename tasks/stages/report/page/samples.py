"""A few rows before and after: the first answered ones, and one of every other status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.stages import arrow_columns
from tasks.stages.prompt import values
from tasks.stages.row_status import RowStatus

_MOST_COLUMNS = 6
_FEW_ROWS = 64
_FEW_NUMBERS = 6
_REASONS = ("error_code", "error_message", "finish_reason")


@dataclass(frozen=True)
class Sample:
    """One row: its number in the dataset (from 1), columns before, what was added after; texts as prompts read them."""

    row: int
    status: str
    custom_id: str
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]


def shown_columns(names: Sequence[str], first: Iterable[str]) -> list[str]:
    """As many columns as fit: key and prompt's columns `first`, then the others as they come."""
    preferred = [name for name in dict.fromkeys(first) if name in names]
    chosen = set([*preferred, *(name for name in names if name not in preferred)][:_MOST_COLUMNS])
    return [name for name in names if name in chosen]


def find_samples(
    file: BinaryIO, wanted: Mapping[str, int], *, prefix: str, first: Iterable[str], first_row: int
) -> list[Sample]:
    """The first rows of each wanted status in an enriched Parquet file, in row order.

    Reads the status column, and of the others only the row groups it needs, a few rows at a time.
    """
    table = pq.ParquetFile(file)
    names = table.schema_arrow.names
    carried = names.index(f"{prefix}answer")
    before, added = shown_columns(names[:carried], first), names[carried:]
    left, samples = dict(wanted), []
    for group in range(table.num_row_groups):
        places = _places(table, group, prefix, left)
        for place, row in _rows(table, group, [*before, *added], places):
            number = first_row + place + 1
            samples.append(_sample(row, number, before, prefix))
        first_row += table.metadata.row_group(group).num_rows
        if not any(left.values()):
            break
    return samples


def _places(table: pq.ParquetFile, group: int, prefix: str, left: dict[str, int]) -> list[int]:
    """Rows of the group that are wanted; takes them off `left`."""
    statuses = table.read_row_group(group, columns=[f"{prefix}status"]).column(0)
    places: list[int] = []
    for status, count in left.items():
        alike = pc.equal(statuses, arrow_columns.repeat(status, 1)[0])
        here = np.flatnonzero(arrow_columns.to_numpy(alike.combine_chunks()))[:count].tolist()
        left[status] -= len(here)
        places += here
    return sorted(places)


def _rows(
    table: pq.ParquetFile, group: int, columns: list[str], places: list[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(place, the row alone) of every place."""
    start, waiting = 0, list(places)
    batches = table.iter_batches(_FEW_ROWS, row_groups=[group], columns=columns) if places else ()
    for batch in batches:
        while waiting and waiting[0] < start + batch.num_rows:
            place = waiting.pop(0)
            yield place, batch.slice(place - start, 1)
        if not waiting:
            return
        start += batch.num_rows


def _sample(row: pa.RecordBatch, number: int, before: list[str], prefix: str) -> Sample:
    texts = {name: cell_text(row.column(name)) for name in before}
    after: list[tuple[str, str]] = []
    parsed = f"{prefix}parsed"
    if parsed in row.schema.names and row.column(parsed).is_valid()[0].as_py():
        after += [(name, cell_text(column)) for name, column in _fields(row.column(parsed))]
    elif answer := cell_text(row.column(f"{prefix}answer")):
        after.append(("answer", answer))
    status = cell_text(row.column(f"{prefix}status"))
    if status != RowStatus.SUCCEEDED:
        reasons = ((name, cell_text(row.column(prefix + name))) for name in _REASONS)
        after += [(name.replace("_", " "), text) for name, text in reasons if text]
    return Sample(
        number, status, cell_text(row.column(f"{prefix}custom_id")), tuple(texts.items()), tuple(after)
    )


def _fields(column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """An answer's fields; an answer that is no object is one field."""
    if not pa.types.is_struct(column.type):
        yield "answer", column
        return
    for field, each in zip(column.type, column.flatten(), strict=True):
        yield field.name, each


def cell_text(column: pa.Array) -> str:
    """The column's only value as prompts read it; what they cannot read is described."""
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        value = column[0].as_py()
        return "" if value is None else f"({len(value):,} bytes)"
    try:
        (value,) = values.to_python(column)
        if isinstance(value, list) and len(value) > _FEW_NUMBERS and isinstance(value[0], float):
            start = ", ".join(f"{number:.4g}" for number in value[:_FEW_NUMBERS])
            return f"[{start}, … {len(value):,} numbers]"
        return str(values.to_text(value))
    except (TypeError, ValueError, OverflowError):
        return f"({kind} that cannot be shown)"
