"""Whether a batch may be posted: checked in the transaction that records its intent.

Whoever checks writes the one row of `admissions` first, and holds it until the transaction ends: what it reads then holds all
that others have been allowed before. (SQLite lets one writer in at a time anyhow; on PostgreSQL a row does the same.)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tasks.ledger.caps import Holder, NoRoom, OverBudget, Quota, QuotaSource, Refusal, SpendingCap
from tasks.ledger.records import BatchRecord
from tasks.ledger.schema import admissions, batches, chunks, quotas, runs, waiters
from tasks.ledger.transitions import INACTIVE

_ENQUEUED_TOKENS = "enqueued_tokens"  # the one kind of quota that is known
_GUESS = 0.8  # of what was enqueued when a refusal came that named no limit
_GUESS_GROWS = 0.1  # an hour
_HOLDS_FOR = timedelta(days=1)  # then the next refusal says whether it still does; it costs nothing
_LOOKS = 4  # then whoever has waited longest goes first
_GONE = timedelta(minutes=15)  # after the look that was due: nobody is there to take the room
_MAY_BE_POSTED = timedelta(days=1)  # from an intent whose batch nobody has seen
_LATE = timedelta(hours=1)  # services end batches late


# It ended before it came to be, or was refused as a whole: nothing was asked, as far as no answers are booked.
never_asked = batches.c.ended_at.is_not(None) & (
    batches.c.batch_id.is_(None) | (batches.c.status == "failed")
)


def admit(
    connection: Connection,
    batch: BatchRecord,
    configured: int | None,
    caps: tuple[SpendingCap, ...],
    now: datetime,
    next_look: datetime,
) -> Refusal | None:
    """None when the batch may be recorded as intended; else why not. Who waits for room is remembered until `next_look`.

    The caller holds `lock`.
    """
    refusal = over_budget(connection, batch, caps) or _no_room(connection, batch, configured, now)
    place = (waiters.c.run_id == batch.run_id) & (waiters.c.chunk == batch.chunk)
    if not isinstance(refusal, NoRoom):
        connection.execute(waiters.delete().where(place))
        return refusal
    looked = {"looks": waiters.c.looks + 1, "next_look_at": next_look}
    if connection.execute(waiters.update().where(place).values(**looked)).rowcount == 0:
        values = {
            "run_id": batch.run_id,
            "chunk": batch.chunk,
            "account": batch.account,
            "model": batch.model,
        }
        first = waiters.insert().values(**values, since=now, looks=1, next_look_at=next_look)
        connection.execute(first)
    return refusal


def lock(connection: Connection) -> None:
    """Let nobody else be admitted before this transaction ends."""
    connection.execute(admissions.update().values(asked=admissions.c.asked + 1))


def learn(connection: Connection, batch: BatchRecord, stated: int | None, now: datetime) -> None:
    """Note the quota after its service refused an open batch; `stated` is the limit that the refusal names.

    Where less than that was enqueued, others than this ledger's runs fill the queue: then a limit is guessed too.
    """
    lock(connection)
    enqueued = sum(holder.tokens for holder in _holders(connection, batch, now).values())
    found = {QuotaSource.STATED: stated}
    if stated is None or enqueued <= stated:
        found[QuotaSource.GUESSED] = max(1, round(_GUESS * enqueued))
    for source, amount in found.items():
        if amount is not None:
            _keep(connection, batch, source, amount, now)


def _keep(
    connection: Connection, batch: BatchRecord, source: QuotaSource, amount: int, now: datetime
) -> None:
    key = {"account": batch.account, "model": batch.model, "kind": _ENQUEUED_TOKENS, "source": source}
    known = sa.and_(*(quotas.c[name] == value for name, value in key.items()))
    connection.execute(quotas.delete().where(known))
    connection.execute(quotas.insert().values(**key, amount=amount, learned_at=now))


def _no_room(
    connection: Connection, batch: BatchRecord, configured: int | None, now: datetime
) -> NoRoom | None:
    limits = [Quota(configured, QuotaSource.JOB)] if configured is not None else []
    quota = min([*limits, *_learned(connection, batch, now)], key=lambda each: each.tokens, default=None)
    if quota is None:
        return None
    holders = _holders(connection, batch, now)
    enqueued = sum(holder.tokens for holder in holders.values())
    # A batch that is larger than the limit is posted alone: nothing smaller will come of it.
    fits = enqueued == 0 or enqueued + batch.tokens_estimate <= quota.tokens
    goes_first = _goes_first(connection, batch, now)
    if fits and goes_first is None:
        return None
    return NoRoom(quota, enqueued, tuple(holders.values()), goes_first)


def _learned(connection: Connection, batch: BatchRecord, now: datetime) -> list[Quota]:
    here = (quotas.c.account == batch.account) & (quotas.c.model == batch.model)
    return [quota_of(row, now) for row in connection.execute(known_quotas(now).where(here))]


def known_quotas(now: datetime) -> sa.Select[Any]:
    """The limits of all queues that were learned recently enough to hold still."""
    recent = (quotas.c.kind == _ENQUEUED_TOKENS) & (quotas.c.learned_at > now - _HOLDS_FOR)
    return quotas.select().where(recent)


def quota_of(row: sa.Row[Any], now: datetime) -> Quota:
    """A row of `known_quotas` as the limit that it is now: a guessed one grows."""
    amount = _grown(row.amount, row.source, now - row.learned_at)
    return Quota(amount, QuotaSource(row.source), row.learned_at)


def waits(now: datetime) -> sa.ColumnElement[bool]:
    """Whether a waiter is still there to take room."""
    return waiters.c.next_look_at > now - _GONE


def _grown(amount: int, source: str, age: timedelta) -> int:
    hours = max(0.0, age / timedelta(hours=1)) if source == QuotaSource.GUESSED else 0.0
    return int(amount * (1 + _GUESS_GROWS) ** hours)


def _holders(connection: Connection, batch: BatchRecord, now: datetime) -> dict[str, Holder]:
    """By run, what its open batches hold of the queue that `batch` is for."""
    query = (
        sa.select(runs.c.id, runs.c.job, runs.c.key, runs.c.state, sa.func.sum(batches.c.tokens_estimate))
        .join(runs, runs.c.id == batches.c.run_id)
        .where(is_open(batch.account, batch.model, now))
        .group_by(runs.c.id, runs.c.job, runs.c.key, runs.c.state)
        .order_by(runs.c.id)
    )
    return {
        run_id: Holder(f"{job} {key}", int(tokens), state in INACTIVE)
        for run_id, job, key, state, tokens in connection.execute(query)
    }


def is_open(account: str, model: str, now: datetime) -> sa.ColumnElement[bool]:
    """Whether a batch is in the service's queue for that model: see `in_queue`."""
    return (batches.c.account == account) & (batches.c.model == model) & in_queue(now)


def in_queue(now: datetime) -> sa.ColumnElement[bool]:
    """Whether a batch is in its service's queue, as far as anybody has seen.

    One that nobody looks after any more counts until its window is over, and one that perhaps never came to be for a day.
    """
    unseen = batches.c.ended_at.is_(None) & batches.c.left_queue_at.is_(None)
    created = sa.or_(batches.c.expires_at.is_(None), batches.c.expires_at > now - _LATE)
    may_be_posted = batches.c.batch_id.is_not(None) | (batches.c.intended_at > now - _MAY_BE_POSTED)
    return unseen & created & may_be_posted


def _goes_first(connection: Connection, batch: BatchRecord, now: datetime) -> str | None:
    """The title of the run that has waited longer than this chunk and so long that it must not be overtaken."""
    query = (
        sa.select(waiters.c.run_id, waiters.c.chunk, waiters.c.looks, runs.c.job, runs.c.key)
        .join(runs, runs.c.id == waiters.c.run_id)
        .where(
            waiters.c.account == batch.account,
            waiters.c.model == batch.model,
            waits(now),
            runs.c.state.not_in(INACTIVE),
        )
        .order_by(waiters.c.since, waiters.c.run_id, waiters.c.chunk)
    )
    for row in connection.execute(query):
        if (row.run_id, row.chunk) == (batch.run_id, batch.chunk):
            return None
        if row.looks >= _LOOKS:
            return f"{row.job} {row.key}"
    return None


def over_budget(
    connection: Connection, batch: BatchRecord, caps: tuple[SpendingCap, ...]
) -> OverBudget | None:
    """The first of the caps that has not enough left for the batch; None where all have.

    The caller holds `lock`.
    """
    for cap in caps:
        wanted = float(_wanted(cap, batch) or 0)
        spent = count_spent(cap, connection.execute(spent_query(cap, batch.run_id)))
        if cap.tokens is None:  # real-time calls take no more tokens than the batch that is left
            spent += _on_its_way(connection, batch, cap)
        if wanted and spent + wanted > cap.limit:
            return OverBudget(cap, spent, wanted)
    return None


def _wanted(cap: SpendingCap, batch: BatchRecord) -> float | None:
    if cap.rows is not None:
        return batch.requests
    return batch.reserved_tokens if cap.usd is None else batch.reserved_usd


def _on_its_way(connection: Connection, batch: BatchRecord, cap: SpendingCap) -> float:
    """What other chunks take of the cap that leave their batches and are not posted again yet."""
    amount = chunks.c.lane_usd if cap.rows is None else chunks.c.lane_rows
    others = (chunks.c.run_id != batch.run_id) | (chunks.c.number != batch.chunk)
    here = runs.c.id == batch.run_id if cap.since is None else runs.c.state.not_in(INACTIVE)
    left = (
        sa.select(batches.c.run_id, batches.c.chunk, batches.c.provider, batches.c.model)
        .distinct()
        .subquery()
    )
    query: sa.Select[Any] = sa.select(runs.c.job, left.c.provider, left.c.model, sa.func.sum(amount))
    query = query.join_from(chunks, runs, runs.c.id == chunks.c.run_id)
    query = query.join(left, (left.c.run_id == chunks.c.run_id) & (left.c.chunk == chunks.c.number))
    query = query.where(here, others, amount.is_not(None))
    grouped = query.group_by(runs.c.job, left.c.provider, left.c.model)
    return count_spent(cap, connection.execute(grouped))


def spent_query(cap: SpendingCap, run_id: str) -> sa.Select[Any]:
    """What batches in the cap's window count for, by (job, provider, model)."""
    amount = sa.func.sum(_amount(cap))
    query: sa.Select[Any] = sa.select(runs.c.job, batches.c.provider, batches.c.model, amount)
    query = query.join(runs, runs.c.id == batches.c.run_id)
    here = batches.c.run_id == run_id if cap.since is None else batches.c.intended_at >= cap.since
    if cap.in_lane:
        here &= batches.c.lane.is_not(None)
    return query.where(here).group_by(runs.c.job, batches.c.provider, batches.c.model)


def promised_query(cap: SpendingCap, run_id: str) -> sa.Select[Any]:
    """The part of `spent_query` that is reserved and not booked yet."""
    return spent_query(cap, run_id).where(batches.c.input_tokens.is_(None))


def count_spent(cap: SpendingCap, rows: Iterable[sa.Row[Any]]) -> float:
    """The sum over what matches the cap, of the rows of `spent_query`."""
    return float(
        sum(spent or 0 for job, provider, model, spent in rows if cap.matches(job, provider or "", model))
    )


def _amount(cap: SpendingCap) -> sa.ColumnElement[Any]:
    if cap.rows is not None:
        return sa.case((never_asked, 0), else_=batches.c.requests)
    return _tokens() if cap.usd is None else _usd()


def _usd() -> sa.ColumnElement[Any]:
    reserved = sa.func.coalesce(batches.c.reserved_usd, 0.0)
    return _counted(sa.func.coalesce(batches.c.cost_usd, reserved), reserved)


def _tokens() -> sa.ColumnElement[Any]:
    reserved = sa.func.coalesce(batches.c.reserved_tokens, batches.c.tokens_estimate)
    return _counted(batches.c.input_tokens + sa.func.coalesce(batches.c.output_tokens, 0), reserved)


def _counted(booked: sa.ColumnElement[Any], reserved: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """What a batch counts for: what is booked, nothing where nothing was asked, else what is reserved."""
    return sa.case((batches.c.input_tokens.is_not(None), booked), (never_asked, 0), else_=reserved)
