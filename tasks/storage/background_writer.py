"""Write a Parquet file in another thread, one row group while the next is made.

Arrow encodes and compresses outside the interpreter's lock, so both go on at the same time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


class BackgroundWriter:
    """A Parquet writer whose `write` does not wait; at most one row group is under way, so memory holds two."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, group_rows: int, **options: Any) -> None:
        self._writer = pq.ParquetWriter(sink, schema, **options)
        self._group_rows = group_rows
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def write(self, table: pa.Table) -> None:
        """Begin to write a table, once the one before it is written. Raises what writing that one raised."""
        self._wait_for_pending()
        self._pending = self._pool.submit(self._writer.write_table, table, self._group_rows)

    def _wait_for_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._writer.close()
        self._wait_for_pending()
