"""A chunk's source rows, read as a stream while it is merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa

from configs.errors import IntegrityError


class RowReader:
    """The chunk's source rows, any number at a time, in order."""

    def __init__(self, rows: BinaryIO, carried: Sequence[str] | None) -> None:
        stream = pa.ipc.open_stream(rows)
        self.schema: pa.Schema = stream.schema
        wanted = None if carried is None else frozenset(carried)
        self._names = [name for name in self.schema.names if wanted is None or name in wanted]
        self._batches = iter(stream)
        self._pending: list[pa.RecordBatch] = []

    def first(self) -> pa.RecordBatch:
        """The first rows, which stay to be taken; none of a chunk without rows."""
        if self._pending or self._fetch():
            return self._pending[0]
        fields = [self.schema.field(name) for name in self._names]
        return pa.record_batch([pa.nulls(0, field.type) for field in fields], schema=pa.schema(fields))

    def rows_within(self, most: int, size: int) -> int:
        """How many of the next rows, at most `most`, are about `size` bytes; at least one batch of them."""
        rows = held = 0
        for batch in self._pending:
            rows, held = rows + batch.num_rows, held + batch.nbytes
        while rows < most and held < size and self._fetch():
            rows, held = rows + self._pending[-1].num_rows, held + self._pending[-1].nbytes
        return min(most, rows) if rows else most

    def take(self, count: int) -> pa.Table:
        """The next `count` rows, at least one; IntegrityError when the file ends before them."""
        have = sum(batch.num_rows for batch in self._pending)
        while have < count:
            if not self._fetch():
                raise IntegrityError("the chunk's rows end before its requests; its run folder is damaged")
            have += self._pending[-1].num_rows
        table = pa.Table.from_batches(self._pending)
        self._pending = table.slice(count).to_batches()
        return table.slice(0, count)

    def finish(self) -> None:
        """IntegrityError when rows are left over."""
        if self._pending or self._fetch():
            raise IntegrityError("the chunk has more rows than requests; its run folder is damaged")

    def _fetch(self) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        self._pending.append(batch.select(self._names))
        return True
