"""Pages of runs and batches, searched and counted by the database: for those who look at many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tasks.ledger.admission import in_queue, known_quotas, quota_of, waits
from tasks.ledger.caps import Quota
from tasks.ledger.reading import as_batch, as_run, query_batches, query_runs
from tasks.ledger.records import BatchRecord, RunRecord
from tasks.ledger.schema import batches, chunks, runs, waiters
from tasks.ledger.transactions import Transactions
from tasks.ledger.transitions import ChunkState

_NOT_POSTED = "intended"  # the status of a batch that its service has not told one of yet


@dataclass(frozen=True)
class RunLine:
    """A run with what its chunks and batches add up to. `next_look_at` is None where nothing is waited for.

    `unpriced` counts the answered batches whose price nobody knows.
    """

    run: RunRecord
    chunks: int = 0
    merged: int = 0
    rows: int = 0
    rows_merged: int = 0
    next_look_at: datetime | None = None
    waiting_for: str | None = None
    posted: int = 0
    open_requests: int = 0
    open_completed: int = 0
    cost_usd: float | None = None
    unpriced: int = 0


@dataclass(frozen=True)
class BatchLine:
    """A batch and the run it belongs to."""

    batch: BatchRecord
    job: str
    key: str


@dataclass(frozen=True)
class QueueLine:
    """What is in a provider account's queue for one model, and the smallest limit that is known; None for no limit."""

    account: str
    model: str
    enqueued: int
    open_batches: int
    waiting: int
    limit: int | None
    source: str | None


@dataclass(frozen=True)
class RunSearch:
    """Which runs are looked for: a text in id, job or key, and a state; empty texts mean all."""

    text: str = ""
    state: str = ""


@dataclass(frozen=True)
class BatchSearch:
    """Which batches are looked for: a text in any id, name, model, lane, status or error; the others are compared whole."""

    text: str = ""
    status: str = ""
    account: str = ""
    run_id: str = ""


class Listing:
    """What is in the ledger, a page at a time. Writes nothing."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def count_runs(self, search: RunSearch) -> int:
        """How many runs are found."""
        return self._count(sa.select(sa.func.count()).select_from(runs).where(*_run_conditions(search)))

    def runs(self, search: RunSearch, limit: int, offset: int = 0) -> tuple[RunLine, ...]:
        """The runs that are found, newest first."""
        query = runs.select().where(*_run_conditions(search)).order_by(runs.c.created_at.desc(), runs.c.id)
        found = query_runs(self._transactions, query.limit(limit).offset(offset))
        return self.lines_of(found)

    def lines_of(self, found: Sequence[RunRecord]) -> tuple[RunLine, ...]:
        """Each of the runs with the sums over its chunks and batches, in their order."""
        ids = [run.id for run in found]
        of_chunks = self._by_run(_chunk_sums(ids)) if ids else {}
        of_batches = self._by_run(_batch_sums(ids)) if ids else {}
        return tuple(RunLine(run, **of_chunks.get(run.id, {}), **of_batches.get(run.id, {})) for run in found)

    def count_batches(self, search: BatchSearch) -> int:
        """How many batches are found."""
        query = sa.select(sa.func.count()).select_from(batches.join(runs, runs.c.id == batches.c.run_id))
        return self._count(query.where(*_batch_conditions(search)))

    def batches(self, search: BatchSearch, limit: int, offset: int = 0) -> tuple[BatchLine, ...]:
        """The batches that are found, newest first."""
        query = (
            sa.select(batches, runs.c.job, runs.c.key)
            .join(runs, runs.c.id == batches.c.run_id)
            .where(*_batch_conditions(search))
            .order_by(batches.c.intended_at.desc(), batches.c.submission_key)
        )
        found = self._transactions.read(query.limit(limit).offset(offset))
        names = [column.name for column in batches.columns]
        return tuple(
            BatchLine(as_batch({name: row._mapping[name] for name in names}), row.job, row.key)
            for row in found
        )

    def batch(self, run_id: str, chunk: int, attempt: int) -> BatchRecord | None:
        """The last posting of a chunk's attempt; None when there is none."""
        this = (batches.c.run_id == run_id) & (batches.c.chunk == chunk) & (batches.c.attempt == attempt)
        query = batches.select().where(this).order_by(batches.c.posting.desc()).limit(1)
        return next(iter(query_batches(self._transactions, query)), None)

    def accounts(self) -> tuple[str, ...]:
        """Every provider account that something was posted under."""
        query = sa.select(batches.c.account).distinct().order_by(batches.c.account)
        return tuple(row.account for row in self._transactions.read(query))

    def newest_runs_by_job(self, limit: int) -> tuple[RunRecord, ...]:
        """The newest run of each job, the last begun first."""
        newest = sa.select(runs.c.job, sa.func.max(runs.c.created_at).label("at")).group_by(runs.c.job)
        latest = newest.order_by(sa.desc("at")).limit(limit).subquery()
        same = (runs.c.job == latest.c.job) & (runs.c.created_at == latest.c.at)
        query = sa.select(runs).join(latest, same).order_by(runs.c.created_at.desc(), runs.c.id)
        found = (as_run(row._mapping) for row in self._transactions.read(query))
        return tuple({run.job: run for run in found}.values())

    def queues(self, now: datetime) -> tuple[QueueLine, ...]:
        """Every (account, model) with something in its queue, somebody who waits, or a limit that its service stated."""
        enqueued = self._by_account(_enqueued(now))
        waiting = self._by_account(_waiting(now))
        limits: dict[tuple[str, str], Quota] = {}
        for row in self._transactions.read(known_quotas(now)):
            key, quota = (row.account, row.model), quota_of(row, now)
            limits[key] = min(limits.get(key, quota), quota, key=lambda each: each.tokens)
        return tuple(
            QueueLine(
                *key,
                enqueued=int(enqueued[key].tokens) if key in enqueued else 0,
                open_batches=enqueued[key].open_batches if key in enqueued else 0,
                waiting=waiting[key].waiting if key in waiting else 0,
                limit=limits[key].tokens if key in limits else None,
                source=limits[key].source if key in limits else None,
            )
            for key in sorted({*enqueued, *waiting, *limits})
        )

    def _count(self, query: sa.Select[Any]) -> int:
        return int(self._transactions.read(query)[0][0])

    def _by_run(self, query: sa.Select[Any]) -> dict[str, dict[str, Any]]:
        rows = (dict(row._mapping) for row in self._transactions.read(query))
        return {row.pop("run_id"): row for row in rows}

    def _by_account(self, query: sa.Select[Any]) -> dict[tuple[str, str], sa.Row[Any]]:
        return {(row.account, row.model): row for row in self._transactions.read(query)}


def _run_conditions(search: RunSearch) -> list[sa.ColumnElement[bool]]:
    texts = (runs.c.id, runs.c.job, runs.c.key, runs.c.job + "/" + runs.c.key)
    conditions = [_contains(texts, search.text)] if search.text else []
    return conditions + ([runs.c.state == search.state] if search.state else [])


def _batch_conditions(search: BatchSearch) -> list[sa.ColumnElement[bool]]:
    status = sa.func.coalesce(batches.c.status, _NOT_POSTED)
    texts = (
        batches.c.batch_id,
        batches.c.file_id,
        batches.c.submission_key,
        batches.c.account,
        batches.c.model,
        batches.c.error_code,
        batches.c.error_message,
        batches.c.error_custom_id,
        batches.c.lane,
        runs.c.job + "/" + runs.c.key,
        status,
    )
    exact = ((status, search.status), (batches.c.account, search.account), (batches.c.run_id, search.run_id))
    conditions = [_contains(texts, search.text)] if search.text else []
    return conditions + [column == value for column, value in exact if value]


def _contains(columns: Sequence[sa.ColumnElement[Any]], text: str) -> sa.ColumnElement[bool]:
    """Whether the text is in one of the columns; capitals do not matter, and % is a character like any other."""
    return sa.or_(*(column.icontains(text, autoescape=True) for column in columns))


def _chunk_sums(ids: Sequence[str]) -> sa.Select[Any]:
    """Over the chunks of each run."""
    merged = chunks.c.state == ChunkState.MERGED
    total = sa.func.sum(chunks.c.rows)
    return (
        sa.select(
            chunks.c.run_id,
            sa.func.count().label("chunks"),
            sa.func.count().filter(merged).label("merged"),
            sa.cast(total, sa.BigInteger).label("rows"),
            sa.cast(sa.func.coalesce(total.filter(merged), 0), sa.BigInteger).label("rows_merged"),
            sa.func.min(chunks.c.not_before).filter(~merged).label("next_look_at"),
            sa.func.max(chunks.c.waiting_for).filter(~merged).label("waiting_for"),
        )
        .where(chunks.c.run_id.in_(ids))
        .group_by(chunks.c.run_id)
    )


def _batch_sums(ids: Sequence[str]) -> sa.Select[Any]:
    """Over the batches of each run."""
    unended = batches.c.ended_at.is_(None) & batches.c.batch_id.is_not(None)
    asked, completed = sa.func.sum(batches.c.requests), sa.func.sum(batches.c.completed)
    unpriced = batches.c.input_tokens.is_not(None) & batches.c.cost_usd.is_(None)
    return (
        sa.select(
            batches.c.run_id,
            sa.func.count().filter(batches.c.batch_id.is_not(None)).label("posted"),
            sa.cast(sa.func.coalesce(asked.filter(unended), 0), sa.BigInteger).label("open_requests"),
            sa.cast(sa.func.coalesce(completed.filter(unended), 0), sa.BigInteger).label("open_completed"),
            sa.func.sum(batches.c.cost_usd).label("cost_usd"),
            sa.func.count().filter(unpriced).label("unpriced"),
        )
        .where(batches.c.run_id.in_(ids))
        .group_by(batches.c.run_id)
    )


def _enqueued(now: datetime) -> sa.Select[Any]:
    tokens = sa.func.sum(batches.c.tokens_estimate).label("tokens")
    query = sa.select(batches.c.account, batches.c.model, tokens, sa.func.count().label("open_batches"))
    return query.where(in_queue(now)).group_by(batches.c.account, batches.c.model)


def _waiting(now: datetime) -> sa.Select[Any]:
    query = sa.select(waiters.c.account, waiters.c.model, sa.func.count().label("waiting"))
    return query.where(waits(now)).group_by(waiters.c.account, waiters.c.model)
