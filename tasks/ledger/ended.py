"""Queries for what statistics are made of: batches by the time they ended, runs that reused answers by the time they finished."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from tasks.ledger.reading import is_current_batch
from tasks.ledger.schema import batches, chunks, runs
from tasks.ledger.transitions import ChunkState

Span = tuple[datetime | None, datetime | None]
"""A range of time, the end left out; None is no limit."""


class EndedBatch(NamedTuple):
    """A batch that its provider took and that has ended, with the job of its run. Tokens are None until its answers are read,
    and `lane` is that of the real-time calls that answered it. `is_final` says whether its figures stay as they are: its
    answers are merged, or never will be, since another posting has taken its place."""

    job: str
    provider: str | None
    model: str
    account: str
    status: str | None
    history: list[list[str]]
    intended_at: datetime
    create_sent_at: datetime | None
    ended_at: datetime
    requests: int
    completed: int | None
    answered_requests: int | None
    counted_requests: int | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    lane: str | None
    is_final: bool


class ReusingRun(NamedTuple):
    """A finished run in which rows took over the answers of earlier runs. `account` is None where nothing else was posted."""

    job: str
    provider: str | None
    model: str | None
    account: str | None
    finished_at: datetime
    rows: int
    saved_usd: float | None


def batches_query(period: Span, job: str | None) -> sa.Select[Any]:
    """The columns of EndedBatch."""
    own = [name for name in EndedBatch._fields if name not in ("job", "is_final")]
    # A cancelled run may go on: until it does, nobody knows what its batches answered.
    is_final = batches.c.input_tokens.is_not(None) | (chunks.c.state == ChunkState.MERGED) | ~is_current_batch
    query = sa.select(runs.c.job, *(batches.c[name] for name in own), is_final)
    query = query.join_from(batches, runs, runs.c.id == batches.c.run_id).join(
        chunks, (chunks.c.run_id == batches.c.run_id) & (chunks.c.number == batches.c.chunk)
    )
    query = query.where(batches.c.batch_id.is_not(None), *_within(batches.c.ended_at, period), *_of(job))
    return query.order_by(batches.c.ended_at)


def reusing_runs_query(period: Span, job: str | None) -> sa.Select[Any]:
    """The columns of ReusingRun. Receipts stay in the database: of each, four values are read."""
    account = sa.select(sa.func.min(batches.c.account)).where(batches.c.run_id == runs.c.id)
    reused = runs.c.receipt["reused"]
    rows = reused["rows"].as_integer()
    query = sa.select(
        runs.c.job,
        runs.c.receipt["provider"].as_string(),
        runs.c.receipt["model"].as_string(),
        account.scalar_subquery(),
        runs.c.finished_at,
        rows,
        reused["saved_usd"].as_float(),
    )
    query = query.where(rows > 0, *_within(runs.c.finished_at, period), *_of(job))
    return query.order_by(runs.c.finished_at)


def _within(column: sa.Column[Any], period: Span) -> list[sa.ColumnElement[bool]]:
    start, end = period
    conditions: list[sa.ColumnElement[bool]] = [column.is_not(None)]
    if start is not None:
        conditions.append(column >= start)
    if end is not None:
        conditions.append(column < end)
    return conditions


def _of(job: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if job is None else [runs.c.job == job]
