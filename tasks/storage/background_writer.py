"""A Parquet file written by another thread, while the next row group is made."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


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
