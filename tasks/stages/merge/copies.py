"""Rows that ask what a row of their chunk before them asks: they are not posted, and get its outcome once that is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.stages import arrow_columns
from tasks.stages.merge.lines import STATUSES, Numbers
from tasks.stages.merge.merge_chunk import MergeStats, most_frequent, writer_options
from tasks.stages.merge.taken_over import EarlierAnswers, put_among, status_codes
from tasks.stages.row_status import RowStatus

_LOOKED_AT: Final = 1024  # rows, to choose how columns are written


def fill_copies(
    merged: BinaryIO,
    lines: pa.Table,
    outcomes: EarlierAnswers,
    sink: BinaryIO,
    prefix: str,
    stats: MergeStats,
) -> MergeStats:
    """Write the rows of `merged`, a chunk's, once more, with the `outcomes` of the rows that others are copies of; the
    account with the copies in it, which it has as missing. A copy cost nothing: no attempt, token or dollar."""
    same_as = arrow_columns.to_numpy(arrow_columns.combined(lines.column("same_as")), -1)
    source = pq.ParquetFile(merged)
    schema = source.schema_arrow
    outcomes.gather(
        {
            name.removeprefix(prefix): schema.field(name).type
            for name in schema.names
            if name.startswith(prefix)
        }
    )
    statuses, errors = Counter[str](), Counter[tuple[str, str | None]]()
    carried = schema.names[: schema.names.index(f"{prefix}answer")]
    first = source.read_row_group(0, carried).slice(0, _LOOKED_AT).combine_chunks().to_batches()[0]
    with pq.ParquetWriter(sink, schema, **writer_options(first, schema, prefix)) as writer:
        lo = 0
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            copies = same_as[lo : lo + table.num_rows] >= 0
            if copies.any():
                taken = outcomes.take(lo, lo + table.num_rows)
                statuses.update(STATUSES[code] for code in status_codes(taken["status"]).tolist())
                pairs = zip(taken["error_code"].to_pylist(), taken["error_message"].to_pylist(), strict=True)
                errors.update(pair for pair in pairs if pair[0])
                table = _filled(table, copies, taken, prefix)
            writer.write_table(table)
            lo += table.num_rows
    return _with_copies(stats, statuses, errors, _unanswered(lines, same_as, stats))


def _filled(table: pa.Table, copies: Numbers, taken: dict[str, pa.Array], prefix: str) -> pa.Table:
    columns = {name: arrow_columns.combined(table.column(name)) for name in table.column_names}
    put_among(columns, copies, taken, prefix)
    return pa.Table.from_arrays(list(columns.values()), schema=table.schema)


def _with_copies(
    stats: MergeStats, statuses: Counter[str], errors: Counter[tuple[str, str | None]], unanswered: int
) -> MergeStats:
    by_status = Counter(stats.by_status)
    by_status[RowStatus.MISSING] -= statuses.total()
    by_status.update(statuses)
    rows = Counter({error.code: error.rows for error in stats.errors})
    examples = {error.code: error.example for error in stats.errors}
    for (code, message), count in errors.items():
        rows[code] += count
        examples.setdefault(code, message)
    return replace(
        stats,
        by_status={str(each): by_status[each] for each in STATUSES if by_status[each]},
        errors=most_frequent(rows, examples),
        unanswered_copies=unanswered,
    )


def _unanswered(lines: pa.Table, same_as: Numbers, stats: MergeStats) -> int:
    """The copies of rows that another attempt can help."""
    ids = arrow_columns.combined(lines.column("custom_id"))
    firsts = ids.take(arrow_columns.indices(same_as[same_as >= 0]))
    waiting = pc.is_in(firsts, value_set=arrow_columns.strings(stats.unanswered))
    return int(arrow_columns.to_numpy(waiting).sum())
