"""A run all of whose batches are open at a provider, and what a look at them costs: requests, and statements of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from fakes.openai_fake import OpenAIFake
from tasks.ledger import schema
from tasks.ledger.database import open_database
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.runs.session import Run

_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def open_batches(run: Run, url: str, fake: OpenAIFake, count: int) -> None:
    """Give a run without chunks so many, whose batches are open; the oldest is chunk 1's."""
    now = run.clock.now()
    chunks, batches = [], []
    for number in range(1, count + 1):
        key, batch_id = f"{run.id}/{number}/1", f"batch_{run.id}_{number}"
        fake.batches[batch_id] = batch_object(batch_id, key)
        chunks.append(ChunkRecord(run.id, number, number, 100, ChunkState.SUBMITTED, 1, 1, 100, 9, 9))
        batches.append(
            BatchRecord(
                *(run.id, number, 1, 1, key, run.service.account, "m", 100, 9, 9, now),
                batch_id=batch_id,
                submitted_at=now,
                polls=20,
            )
        )
    with open_database(url).begin() as connection:
        connection.execute(schema.chunks.delete())
        connection.execute(schema.chunks.insert(), [asdict(chunk) for chunk in chunks])
        connection.execute(schema.batches.insert(), [asdict(batch) for batch in batches])
    all_due(url)


def batch_object(batch_id: str, key: str) -> dict[str, object]:
    """A batch that runs, as the provider has it."""
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": None,
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": "in_progress",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": int(datetime.now(UTC).timestamp()),
        "expires_at": int((datetime.now(UTC) + timedelta(days=1)).timestamp()),
        "request_counts": {"total": 100, "completed": 0, "failed": 0},
        "metadata": {"nightmail_key": key},
    }


def all_due(url: str) -> None:
    """Let the time of the next look be there for every chunk."""
    with open_database(url).begin() as connection:
        connection.execute(schema.chunks.update().values(not_before=_LONG_AGO))


@contextmanager
def counted(url: str) -> Iterator[Counter[str]]:
    """The ledger's statements by their first word, in the block; a writing transaction is `BEGIN IMMEDIATE`."""
    seen: Counter[str] = Counter()

    def statement(_connection: object, _cursor: object, text: str, *_: object) -> None:
        seen[text if text.startswith("BEGIN") else text.split()[0]] += 1

    engine = open_database(url)
    sa.event.listen(engine, "before_cursor_execute", statement)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", statement)
