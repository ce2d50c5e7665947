"""A ledger with batches that ended long ago, written row by row without any run having taken place."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.ledger.database import open_database
from tasks.ledger.ended import EndedBatch, ReusingRun
from tasks.ledger.schema import batches, chunks, runs

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
BOOKED = (
    "answered_requests",
    "counted_requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_usd",
)
"""Columns of a batch that its merge fills."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Past:
    """A finished run with one batch: asked at `start`, out of the queue and ended so many seconds later.

    `values` are columns of the batch; `reused` is that of the run's receipt. `unread`: its run still has to fetch the answers.
    """

    job: str = "letters"
    start: datetime = MIDNIGHT
    queued: float = 60
    lasted: float = 600
    values: dict[str, Any] = field(default_factory=dict)
    reused: dict[str, Any] | None = None
    unread: bool = False

    def rows(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """What it is in the tables of runs, chunks and batches."""
        run_id = f"p{next(_numbers)}"
        end = self.start + timedelta(seconds=self.lasted)
        beyond = self.start + timedelta(seconds=self.queued)
        seen = (("queued", self.start), ("running", beyond), ("completed", end))
        batch = {
            "run_id": run_id,
            "chunk": 1,
            "attempt": 1,
            "posting": 1,
            "submission_key": f"{run_id}/1/1",
            "account": "acc",
            "model": "m",
            "provider": "openai",
            "requests": 10,
            "bytes": 100,
            "tokens_estimate": 50,
            "batch_id": f"b-{run_id}",
            "status": "completed",
            "history": [[status, moment.isoformat()] for status, moment in seen],
            "completed": 10,
            "failed": 0,
            "answered_requests": 10,
            "intended_at": self.start - timedelta(seconds=30),
            "create_sent_at": self.start,
            "submitted_at": self.start,
            "ended_at": end,
            "polls": 2,
            "input_tokens": 100,
            "output_tokens": 20,
            "cached_tokens": 5,
            "reasoning_tokens": 2,
            "counted_requests": 10,
            "cost_usd": 0.5,
            "lane": None,
            **(dict.fromkeys(BOOKED) if self.unread else {}),
            **self.values,
        }
        run = {
            "id": run_id,
            "job": self.job,
            "key": run_id,
            "generation": 1,
            "logical_date": end.date(),
            "state": "running" if self.unread else "finished",
            "spec": {},
            "identity": {},
            "folder": f"{self.job}/{run_id}",
            "bad_lines": 0,
            "fence": 1,
            "created_at": self.start,
            "finished_at": end,
            "receipt": {"provider": batch["provider"], "model": batch["model"], "reused": self.reused},
        }
        chunk = {
            "run_id": run_id,
            "number": 1,
            "first_row": 0,
            "rows": batch["requests"],
            "state": "ended" if self.unread else "merged",
            "attempt": 1,
            "posting": 1,
            "requests": batch["requests"],
            "bytes": 100,
            "tokens_estimate": 50,
        }
        return run, chunk, batch


def as_read(past: Iterable[Past]) -> tuple[list[EndedBatch], list[ReusingRun]]:
    """What a ledger would give of them: the batches that have ended, and the runs that reused answers."""
    batches, runs = [], []
    for each in past:
        run, _, batch = each.rows()
        if batch["batch_id"] is not None and batch["ended_at"] is not None:
            values = {name: batch[name] for name in EndedBatch._fields if name in batch}
            batches.append(EndedBatch(job=each.job, is_final=not each.unread, **values))
        if each.reused is not None:
            about = {name: batch[name] for name in ("provider", "model")}
            account = batch["account"] if batch["batch_id"] else None
            runs.append(
                ReusingRun(each.job, **about, account=account, finished_at=run["finished_at"], **each.reused)
            )
    return batches, runs


def remember(url: str, past: Iterable[Past]) -> None:
    """Write them into the ledger at `url`, which is made if there is none."""
    made = [each.rows() for each in past]
    with open_database(url).begin() as connection:
        for place, table in enumerate((runs, chunks, batches)):
            connection.execute(table.insert(), [rows[place] for rows in made])
