"""Count the rows of a run that have a final outcome, updated chunk by chunk.

Incremental, since recounting all chunks after every step made runs with many chunks quadratic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from configs.progress import Progress
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState


class RowProgress:
    """Counts completed rows, including those that open batches report; these start at 0 again when a batch is reposted."""

    def __init__(self, chunks: Sequence[ChunkRecord], posted: Mapping[int, BatchRecord]) -> None:
        self._rows = sum(chunk.rows for chunk in chunks)
        self._chunks = len(chunks)
        self._done: dict[int, int] = {}
        self._total_done = 0
        self._merged: set[int] = set()
        for chunk in chunks:
            self.update(chunk, posted.get(chunk.number))

    def update(self, chunk: ChunkRecord, posted: BatchRecord | None) -> None:
        """Update one chunk's count; `posted` is the batch that it waits for or is about to collect."""
        before = self._done.get(chunk.number, 0)
        completed = min(posted.completed or 0, chunk.requests) if posted else 0
        done = chunk.rows - chunk.requests + completed
        if (
            chunk.state is ChunkState.COLLECTED
        ):  # its batch's counts are gone and its rows not merged yet: keep the last count
            done = max(done, before)
        elif chunk.state is ChunkState.MERGED:
            done = chunk.rows
            self._merged.add(chunk.number)
        self._done[chunk.number] = done
        self._total_done += done - before

    @property
    def progress(self) -> Progress:
        """The current progress, for a reporter."""
        merged = f"{len(self._merged)}/{self._chunks} chunks merged"
        return Progress("answering", self._total_done, self._rows, "rows", merged)
