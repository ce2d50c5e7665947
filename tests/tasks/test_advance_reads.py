"""What a step reads in the ledger does not grow with the number of chunks in the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from configs.clock import SystemClock
from configs.progress import Progress, SilentReporter
from configs.request import RunRequest
from rigs.workspace import Workspace
from tasks.advance import advance
from tasks.ledger import schema
from tasks.ledger.database import open_database
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.prepare import prepare
from tasks.providers.registry import connect
from tasks.runs.opening import open_run
from tasks.runs.request import resolve_request
from tasks.runs.session import Run

REAL = 5  # chunks that take their steps at the service; the others lie beside them


class Reads(SilentReporter):
    """Counts SELECT statements and the rows they fetch; notes the counts of every step, per `advance`."""

    def __init__(self) -> None:
        self.statements = self.rows = 0
        self.wakes: list[list[tuple[int, int]]] = []

    def progress(self, now: Progress) -> None:
        """Called at the end of each step."""
        del now
        self.wakes[-1].append((self.statements, self.rows))
        self.statements = self.rows = 0

    def begin(self) -> None:
        """A new wake, whose first step is counted together with what is read once for all."""
        self.wakes.append([])
        self.statements = self.rows = 0

    def row(self, _cursor: object, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """As SQLite's `row_factory`."""
        self.rows += 1
        return row

    def statement(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        """As SQLAlchemy's `before_cursor_execute`."""
        self.statements += statement.lstrip().upper().startswith("SELECT")


@contextmanager
def counted(url: str) -> Iterator[Reads]:
    """Count what is read in that ledger."""
    reads, engine = Reads(), open_database(url)

    def checked_out(connection: Any, *_: object) -> None:
        connection.row_factory = reads.row

    sa.event.listen(engine, "checkout", checked_out)
    sa.event.listen(engine, "before_cursor_execute", reads.statement)
    yield reads
    sa.event.remove(engine, "before_cursor_execute", reads.statement)
    sa.event.remove(engine, "checkout", checked_out)
    open_database.cache_clear()


def fill_up(run: Run, url: str, count: int) -> None:
    """Chunks that are merged, or whose batch nobody looks at for half an hour, until the run has `count`."""
    now = run.clock.now()
    chunks, batches = [], []
    for number in range(REAL + 1, count + 1):
        state = ChunkState.MERGED if number % 2 else ChunkState.SUBMITTED
        wait = None if number % 2 else now + timedelta(minutes=30)
        stats = {"rows": 1} if number % 2 else None
        chunks.append(
            ChunkRecord(run.id, number, number, 1, state, 1, 1, 1, 9, 9, not_before=wait, stats=stats)
        )
        key, account = f"{run.id}/{number}/1", run.service.account
        batches.append(
            BatchRecord(run.id, number, 1, 1, key, account, "m", 1, 9, 9, now, batch_id=key, submitted_at=now)
        )
    with open_database(url).begin() as connection:
        connection.execute(schema.chunks.insert(), [asdict(chunk) for chunk in chunks])
        connection.execute(schema.batches.insert(), [asdict(batch) for batch in batches])


def reads_of_a_run(workspace: Workspace, count: int) -> Reads:
    """Drive the real chunks of a run of `count` to their end."""
    url, clock, key = workspace.home.ledger_url, SystemClock(), f"k{count}"
    workspace.faults("row_error:500:t-3")
    workspace.service.fault("retrieve", "status:503", times=9)  # the SDK asks three times before a poll fails
    resolved = resolve_request(RunRequest(workspace.write(), key=key), workspace.home, clock)
    service = connect(resolved.job.provider, workspace.home, os.environ)
    with open_run(resolved, service, workspace.home, clock) as run, counted(url) as reads:
        prepare(run, SilentReporter())
        fill_up(run, url, count)
        while unmerged := [c for c in run.ledger.chunks()[:REAL] if c.state is not ChunkState.MERGED]:
            due = max(chunk.not_before or clock.now() for chunk in unmerged)
            clock.sleep(max(0.0, (due - clock.now()).total_seconds()))  # so that several are due at once
            reads.begin()
            advance(run, reads)
    workspace.service.forgive()
    return reads


def test_a_step_reads_as_much_of_a_run_of_10_chunks_as_of_1000(
    workspace: Workspace, fast_faults: None
) -> None:
    workspace.source(REAL)
    workspace.change("limits.max_requests", 1)
    workspace.change("retry.max_attempts", 2)
    workspace.change("execution.transfers", 1)  # so that a step's reads are its own
    workspace.change("prompt.endpoint", "/v1/embeddings")  # whose merge asks what other chunks have learned
    small, large = (reads_of_a_run(workspace, count) for count in (10, 1000))
    assert most_of_a_step(small) == most_of_a_step(large)
    assert most_statements_of_a_wake(small) == most_statements_of_a_wake(large)
    assert max(most_of_a_step(large)) < 6, "a few rows of the chunk's own"


def most_of_a_step(reads: Reads) -> tuple[int, int]:
    """Statements and rows of the steps that read most of each."""
    steps = [step for wake in reads.wakes for step in wake[1:]]
    return max(statements for statements, _ in steps), max(rows for _, rows in steps)


def most_statements_of_a_wake(reads: Reads) -> int:
    """What a wake reads once may have many rows, and takes no more statements than with few."""
    return max(wake[0][0] for wake in reads.wakes if wake)
