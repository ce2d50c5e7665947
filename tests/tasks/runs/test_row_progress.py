"""Progress of a run, chunk by chunk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.runs.row_progress import RowProgress

S = ChunkState
THEN = datetime(2026, 11, 22, tzinfo=UTC)
CHUNK = ChunkRecord("r", 1, 0, 10, S.PREPARED, 1, 1, 8, 100, 25)  # two of its ten rows are not posted
BATCH = BatchRecord("r", 1, 1, 1, "r/1/1", "a", "m", 8, 100, 25, THEN)


@pytest.mark.parametrize(
    ("state", "completed", "done"),
    [
        (S.PREPARED, None, 2),
        (S.INTENDED, None, 2),
        (S.SUBMITTED, None, 2),
        (S.SUBMITTED, 3, 5),
        (S.SUBMITTED, 99, 10),  # services count oddly
        (S.ENDED, 8, 10),
        (S.COLLECTED, None, 2),
        (S.MERGED, None, 10),
    ],
)
def test_rows_without_a_request_and_those_that_a_batch_completed_are_done(
    state: ChunkState, completed: int | None, done: int
) -> None:
    chunk, batch = replace(CHUNK, state=state), replace(BATCH, completed=completed)
    other = replace(CHUNK, number=2)
    progress = RowProgress([chunk, other], {1: batch} if state in (S.SUBMITTED, S.ENDED) else {}).progress
    assert (progress.done, progress.total) == (done + 2, 20)


def test_a_chunk_counts_once_however_often_it_moves() -> None:
    progress = RowProgress([CHUNK], {})
    seen = []
    for state, posted in (
        (S.SUBMITTED, replace(BATCH, completed=4)),
        (S.ENDED, replace(BATCH, completed=7)),
        (S.COLLECTED, None),
        (S.MERGED, None),
    ):
        progress.update(replace(CHUNK, state=state), posted)
        seen.append((progress.progress.done, progress.progress.detail))
    assert seen == [
        (6, "0/1 chunks merged"),
        (9, "0/1 chunks merged"),
        (9, "0/1 chunks merged"),
        (10, "1/1 chunks merged"),
    ]


def test_another_attempt_counts_what_is_answered_already() -> None:
    progress = RowProgress([replace(CHUNK, state=S.ENDED)], {1: replace(BATCH, completed=8)})
    progress.update(replace(CHUNK, state=S.PREPARED, attempt=2, requests=3), None)
    assert progress.progress.done == 7
