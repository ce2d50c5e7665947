"""Select sample rows for the report: the first answered ones, and one of every other status."""

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

_MAX_COLUMNS = 6
_ROWS_PER_READ = 64
_MAX_NUMBERS = 6
_MOST_BINARY = 1_000  # bytes of a value with binary somewhere in it that is shown as JSON
_REASONS = ("error_code", "error_message", "finish_reason")


@dataclass(frozen=True)
class Sample:
    """One sample row: its number in the dataset (from 1), source columns (`before`), added columns (`after`), as text."""

    row: int
    status: str
    custom_id: str
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]


def columns_to_show(names: Sequence[str], first: Iterable[str]) -> list[str]:
    """The columns that fit the report: those named in `first` (key and prompt's columns), then others in their order."""
    preferred = [name for name in dict.fromkeys(first) if name in names]
    chosen = set([*preferred, *(name for name in names if name not in preferred)][:_MAX_COLUMNS])
    return [name for name in names if name in chosen]


def find_samples(
    file: BinaryIO, wanted: Mapping[str, int], *, prefix: str, first: Iterable[str], first_row: int
) -> list[Sample]:
    """The first rows of each wanted status in an enriched Parquet file, in row order.

    Reads the status column, and of the others only the row groups it needs, a few rows at a time.
    """
    table = pq.ParquetFile(file)
    names = table.schema_arrow.names
    source_column_count = names.index(f"{prefix}answer")
    before, added = columns_to_show(names[:source_column_count], first), names[source_column_count:]
    remaining, samples = dict(wanted), []
    for group in range(table.num_row_groups):
        row_indices = _wanted_rows(table, group, prefix, remaining)
        for row_index, row in _rows(table, group, [*before, *added], row_indices):
            number = first_row + row_index + 1
            samples.append(_sample(row, number, before, prefix))
        first_row += table.metadata.row_group(group).num_rows
        if not any(remaining.values()):
            break
    return samples


def _wanted_rows(table: pq.ParquetFile, group: int, prefix: str, remaining: dict[str, int]) -> list[int]:
    """Indices of the group's rows with a wanted status; reduces the counts in `remaining`."""
    statuses = table.read_row_group(group, columns=[f"{prefix}status"]).column(0)
    row_indices: list[int] = []
    for status, count in remaining.items():
        is_status = pc.equal(statuses, arrow_columns.repeat(status, 1)[0])
        matching = np.flatnonzero(arrow_columns.to_numpy(is_status.combine_chunks()))[:count].tolist()
        remaining[status] -= len(matching)
        row_indices += matching
    return sorted(row_indices)


def _rows(
    table: pq.ParquetFile, group: int, columns: list[str], row_indices: list[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(row index, a record batch of that row alone) for every index."""
    start, remaining_indices = 0, list(row_indices)
    batches = table.iter_batches(_ROWS_PER_READ, row_groups=[group], columns=columns) if row_indices else ()
    for batch in batches:
        while remaining_indices and remaining_indices[0] < start + batch.num_rows:
            row_index = remaining_indices.pop(0)
            yield row_index, batch.slice(row_index - start, 1)
        if not remaining_indices:
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
    """The fields of a parsed answer; an answer that is no object is one field, `answer`."""
    if not pa.types.is_struct(column.type):
        yield "answer", column
        return
    for field, field_column in zip(column.type, column.flatten(), strict=True):
        yield field.name, field_column


def cell_text(column: pa.Array) -> str:
    """The only value of the column, formatted as in prompts; values that prompts cannot contain are described."""
    column_type = column.type
    if (
        pa.types.is_binary(column_type)
        or pa.types.is_large_binary(column_type)
        or pa.types.is_fixed_size_binary(column_type)
    ):
        value = column[0].as_py()
        return "" if value is None else f"({len(value):,} bytes)"
    if column.nbytes > _MOST_BINARY and _holds_binary(column_type):
        return "" if column[0].as_py() is None else f"({column.nbytes:,} bytes)"
    try:
        (value,) = values.to_python(column)
        if isinstance(value, list) and len(value) > _MAX_NUMBERS and isinstance(value[0], float):
            start = ", ".join(f"{number:.4g}" for number in value[:_MAX_NUMBERS])
            return f"[{start}, … {len(value):,} numbers]"
        return str(values.to_text(value))
    except (TypeError, ValueError, OverflowError):
        return f"({column_type} that cannot be shown)"


def _holds_binary(kind: pa.DataType) -> bool:
    """Whether binary lies somewhere in values of that type: pictures, as some datasets hold them."""
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return is_binary or any(_holds_binary(kind.field(number).type) for number in range(kind.num_fields))
