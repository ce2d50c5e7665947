"""A chunk's rows in and out while it is merged: read as a stream, written behind the work."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import IntegrityError


class RowReader:
    """The chunk's source rows, any number at a time, in order."""

    def __init__(self, rows: BinaryIO, carried: Sequence[str] | None) -> None:
        stream = pa.ipc.open_stream(rows)
        self.schema: pa.Schema = stream.schema
        self._names = [name for name in self.schema.names if carried is None or name in carried]
        self._batches = iter(stream)
        self._pending: list[pa.RecordBatch] = []

    def first(self) -> pa.RecordBatch:
        """The first rows, which stay to be taken; none of a chunk without rows."""
        if self._pending or self._fetch():
            return self._pending[0]
        fields = [self.schema.field(name) for name in self._names]
        return pa.record_batch([pa.nulls(0, field.type) for field in fields], schema=pa.schema(fields))

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


class BackgroundWriter:
    """Writes one row group while the next is made; at most one is under way."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, group_rows: int, **options: Any) -> None:
        self._writer = pq.ParquetWriter(sink, schema, **options)
        self._group_rows = group_rows
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def write(self, table: pa.Table) -> None:
        """Raises what the write before this one raised."""
        self._settle()
        self._pending = self._pool.submit(self._writer.write_table, table, self._group_rows)

    def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._writer.close()
        self._settle()
