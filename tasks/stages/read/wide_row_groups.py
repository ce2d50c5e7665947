"""Read Parquet row groups of many columns a few columns at a time.

A row of a Parquet file lies on one page of each column, and Arrow holds that page and the column's dictionary while its
rows are read: about 2 MB a column, 400 MB for 200 columns. Where that is too much, some columns after the other are read
through the row group and laid down in temporary files, from which the rows are put together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa

from tasks.storage.temporary import spooled_file

PAGES_BYTES = 40 << 20
_FEW_ROWS = 256
"""To decode at a time: large rows may lie together, and a footer tells averages. 1,024 at a time take a seventh less."""

PAGES_OF_A_COLUMN = 2 << 20  # a page and a dictionary, each 1 MB unless the writer was told otherwise
_IN_MEMORY = 1 << 16
MOST_COLUMNS_WEIGHED = 2_000  # of wider files every look at a column costs more than it saves


def batches_of(
    file: Any, groups: Sequence[int] | None, names: Sequence[str], rows: int, most: int = PAGES_BYTES
) -> Iterator[Any]:
    """Batches of at most `rows` rows with the columns `names`, of the row groups `groups` or all of them.

    `file` is a ParquetFile. About `most` bytes of pages are held at a time.
    """
    chosen = list(range(file.num_row_groups)) if groups is None else list(groups)
    if all(_page_bytes(file.metadata, group, names) <= most for group in chosen):
        yield from file.iter_batches(min(rows, _FEW_ROWS), chosen, columns=list(names), use_threads=False)
        return
    for group in chosen:
        count = max(1, len(names) * most // max(most, _page_bytes(file.metadata, group, names)))
        parts = [names[start : start + count] for start in range(0, len(names), count)]
        yield from _joined(file, group, parts, rows)


def _page_bytes(footer: Any, group: int, names: Sequence[str]) -> int:
    """About how much Arrow holds while it reads the rows of a row group."""
    about = footer.row_group(group)
    if footer.num_columns > MOST_COLUMNS_WEIGHED:
        average = about.total_byte_size // footer.num_columns
        return len(names) * min(PAGES_OF_A_COLUMN, int(average))
    wanted = frozenset(names)
    columns = (about.column(place) for place in range(about.num_columns))
    used = (each for each in columns if each.path_in_schema.split(".")[0] in wanted)
    return sum(min(PAGES_OF_A_COLUMN, int(column.total_uncompressed_size)) for column in used)


def _joined(file: Any, group: int, parts: Sequence[Sequence[str]], rows: int) -> Iterator[Any]:
    with ExitStack() as stack:
        streams = [_laid_down(file, group, part, rows, stack) for part in parts]
        for batches in zip(*streams, strict=True):
            columns = [column for batch in batches for column in batch.columns]
            fields = [field for batch in batches for field in batch.schema]
            yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _laid_down(file: Any, group: int, part: Sequence[str], rows: int, stack: ExitStack) -> Any:
    """The batches of some columns, from a temporary file."""
    temporary = stack.enter_context(spooled_file(_IN_MEMORY))
    writer = None
    for batch in file.iter_batches(rows, [group], columns=list(part), use_threads=False):
        if writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            writer = pa.ipc.new_stream(temporary, batch.schema, options=options)
        writer.write_batch(batch)
    if writer is None:
        return iter(())
    writer.close()
    temporary.seek(0)
    return pa.ipc.open_stream(temporary)
