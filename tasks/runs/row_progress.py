"""How many rows of a run have a final outcome, kept up to date one chunk at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from configs.progress import Progress
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState


class RowProgress:
    """Counts what open batches say they have completed, and forgets it when a batch is posted anew."""

    def __init__(self, chunks: Sequence[ChunkRecord], posted: Mapping[int, BatchRecord]) -> None:
        self._rows = sum(chunk.rows for chunk in chunks)
        self._chunks = len(chunks)
        self._done: dict[int, int] = {}
        self._total_done = 0
        self._merged: set[int] = set()
        for chunk in chunks:
            self.update(chunk, posted.get(chunk.number))

    def update(self, chunk: ChunkRecord, posted: BatchRecord | None) -> None:
        """Where a chunk is now; `posted` is the batch that it waits for or is about to collect."""
        before = self._done.get(chunk.number, 0)
        completed = min(posted.completed or 0, chunk.requests) if posted else 0
        done = chunk.rows - chunk.requests + completed
        if chunk.state is ChunkState.COLLECTED:  # not counted yet, and no less than its batch has said
            done = max(done, before)
        elif chunk.state is ChunkState.MERGED:
            done = chunk.rows
            self._merged.add(chunk.number)
        self._done[chunk.number] = done
        self._total_done += done - before

    @property
    def progress(self) -> Progress:
        """For a reporter."""
        merged = f"{len(self._merged)}/{self._chunks} chunks merged"
        return Progress("answering", self._total_done, self._rows, "rows", merged)
