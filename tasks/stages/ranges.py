"""Where a source is cut into ranges: rows between borders that no chunk crosses, so that each range can be made by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from tasks.stages.prompt.render import MICRO_BATCH_ROWS
from tasks.stages.read import Dataset
from tasks.storage.prefetch import read_ahead

RANGE_ROWS: Final = 200_000
"""What is prepared at a time by one process, and known to the ledger together: seconds of work, and few enough records."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of so many rows each, the last of fewer; numbered from 0, as rows are."""

    rows: int

    @classmethod
    def of_whole_chunks(cls, max_requests: int) -> Ranges:
        """Ranges of about RANGE_ROWS, and of whole chunks where nothing but their requests bounds those."""
        return cls(max(1, round(RANGE_ROWS / max_requests)) * max_requests)

    def count(self, rows: int) -> int:
        """How many ranges so many rows make."""
        return -(-rows // self.rows)

    def range_of(self, row: int) -> int:
        """The range that a row of the source is in."""
        return row // self.rows

    def batches(
        self, dataset: Dataset, first: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Record batches that cross no border, each with the number of its first row: from range `first` on, and up to `stop`,
        which only a dataset that `begins_anywhere` can be told."""
        row = first * self.rows if dataset.begins_anywhere else 0
        for batch in read_ahead(self._read(dataset, first, stop), weigh=_size_of):
            if self.range_of(row) >= first:
                yield row, batch
            row += batch.num_rows

    def _read(self, dataset: Dataset, first: int, stop: int | None) -> Iterator[pa.RecordBatch]:
        """Where reading can begin at a range, it does so at each: then the batches of a range, and what is made of them, are the
        same whoever reads the others."""
        if dataset.begins_anywhere and dataset.rows_hint is not None:
            for start in range(first * self.rows, dataset.rows_hint, self.rows)[
                : None if stop is None else stop - first
            ]:
                part = range(start, min(start + self.rows, dataset.rows_hint))
                yield from dataset.batches_of(part, MICRO_BATCH_ROWS)
            return
        row = 0
        for batch in dataset.batches(MICRO_BATCH_ROWS):
            room = self.rows - row % self.rows
            yield batch.slice(0, room)
            if room < batch.num_rows:
                yield from _sliced(batch.slice(room), self.rows)
            row += batch.num_rows


def _sliced(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    return (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _size_of(batch: pa.RecordBatch) -> int:
    size: int = batch.nbytes
    return size
