"""The ledger: what every run, chunk and batch is known to have done. Each change is one transaction.

Every writing method takes the run's `Lease` and raises LeaseLost when a later owner has taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError as DuplicateRow
from sqlalchemy.exc import OperationalError

from configs.clock import Clock
from configs.errors import IntegrityError, LeaseLost, RunBusy, StorageError
from tasks.ledger.database import open_database
from tasks.ledger.leases import describe_owner
from tasks.ledger.records import BatchRecord, ChunkRecord, Event, Lease, RunRecord
from tasks.ledger.schema import batches, chunks, events, runs
from tasks.ledger.transitions import MOVES, OVER, ChunkState, RunState

_LONGEST_UPLOAD = timedelta(days=1)  # from the intent to the batch


class Ledger:
    """The database at `url`, read and written with the time of `clock`."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._engine = open_database(url)
        self._clock = clock

    # Runs and their leases

    def latest_run(self, job: str, key: str) -> RunRecord | None:
        """The newest generation of (job, key)."""
        query = runs.select().where(runs.c.job == job, runs.c.key == key)
        return next(iter(self._runs(query.order_by(runs.c.generation.desc()).limit(1))), None)

    def get_run(self, run_id: str) -> RunRecord | None:
        """The run with that id."""
        return next(iter(self._runs(runs.select().where(runs.c.id == run_id))), None)

    def run_of_origin(self, origin: str) -> RunRecord | None:
        """The run that a flow run began, whatever the date has become since."""
        query = runs.select().where(runs.c.origin == origin).order_by(runs.c.created_at.desc()).limit(1)
        return next(iter(self._runs(query)), None)

    def recent_runs(self, limit: int = 20) -> tuple[RunRecord, ...]:
        """Newest first."""
        return self._runs(runs.select().order_by(runs.c.created_at.desc()).limit(limit))

    def create_run(
        self,
        run_id: str,
        *,
        job: str,
        key: str,
        generation: int,
        logical_date: date,
        spec: Mapping[str, Any],
        identity: Mapping[str, Any],
        folder: str,
        origin: str | None = None,
    ) -> None:
        """Insert a run in state `preparing`; RunBusy if someone else has just created the same one."""
        values = {
            "id": run_id,
            "job": job,
            "key": key,
            "generation": generation,
            "logical_date": logical_date,
            "state": RunState.PREPARING,
            "spec": spec,
            "identity": identity,
            "folder": folder,
            "origin": origin,
            "fence": 0,
            "created_at": self._clock.now(),
        }
        try:
            with self._write() as connection:
                connection.execute(runs.insert().values(values))
        except DuplicateRow as error:
            raise RunBusy(
                f"{job} {key}: another process is starting this run; look with `nightmail status`"
            ) from error

    def claim(
        self, run_id: str, owner: str, seconds: float, gone: Callable[[str], bool], *, force: bool = False
    ) -> Lease:
        """Take the lease for `seconds`. RunBusy names the holder of a live one, unless `gone(holder)` or `force`."""
        now = self._clock.now()
        with self._write() as connection:
            holder = connection.execute(sa.select(runs.c.lease_owner).where(runs.c.id == run_id)).scalar()
            lapsed = runs.c.lease_until.is_(None) | (runs.c.lease_until <= now)
            orphaned = runs.c.lease_owner == holder if holder and (force or gone(holder)) else sa.false()
            free = lapsed | orphaned
            taken = connection.execute(
                runs.update()
                .where(runs.c.id == run_id, free)
                .values(
                    lease_owner=owner, lease_until=now + timedelta(seconds=seconds), fence=runs.c.fence + 1
                )
            )
            row = connection.execute(sa.select(runs).where(runs.c.id == run_id)).one()
        if taken.rowcount == 0:
            raise RunBusy(
                f"{row.job} {row.key}: {describe_owner(row.lease_owner)} is working on this run"
                f" (lease until {row.lease_until:%H:%M:%S} UTC); it goes on there, or here once that has passed",
                until=row.lease_until,
                origin=row.origin,
            )
        return Lease(run_id, owner, row.fence)

    def renew(self, lease: Lease, seconds: float) -> None:
        """Push the lease's end to `seconds` from now."""
        until = self._clock.now() + timedelta(seconds=seconds)
        with self._owned(lease) as connection:
            connection.execute(runs.update().where(runs.c.id == lease.run_id).values(lease_until=until))

    def release(self, lease: Lease) -> None:
        """Let the next process take over at once. Silent when the lease is already someone else's."""
        mine = (runs.c.id == lease.run_id) & (runs.c.fence == lease.fence)
        with self._write() as connection:
            connection.execute(runs.update().where(mine).values(lease_owner=None, lease_until=None))

    def check(self, lease: Lease) -> None:
        """Raise LeaseLost unless the lease is still ours: called right before an effect outside the ledger."""
        with self._owned(lease):
            pass

    def update_run(self, lease: Lease, **values: Any) -> None:
        """Set columns of the run."""
        with self._owned(lease) as connection:
            connection.execute(runs.update().where(runs.c.id == lease.run_id).values(**values))

    # Chunks and batches

    def replace_chunks(
        self, lease: Lease, prepared: tuple[ChunkRecord, ...], *, state: RunState, **run_values: Any
    ) -> None:
        """Make `prepared` the run's chunks, once, when preparing is complete."""
        with self._owned(lease) as connection:
            connection.execute(chunks.delete().where(chunks.c.run_id == lease.run_id))
            if prepared:
                connection.execute(chunks.insert(), [asdict(chunk) for chunk in prepared])
            values = {"state": state, **run_values}
            connection.execute(runs.update().where(runs.c.id == lease.run_id).values(**values))
            self._log(connection, lease.run_id, "prepared", f"{len(prepared)} chunks")

    def reopen(
        self,
        lease: Lease,
        waiting: Sequence[ChunkRecord],
        why: str,
        *,
        mark: str | None = None,
        **run_values: Any,
    ) -> None:
        """A run that was over goes on: the merged chunks `waiting` are merged anew, which posts what they still lack.

        `mark` goes into the history of all their batches.
        """
        with self._owned(lease) as connection:
            for chunk in waiting:
                self._change(connection, chunk, {"state": ChunkState.COLLECTED})
                self._log(connection, lease.run_id, ChunkState.COLLECTED, why, chunk)
                if mark:
                    theirs = (batches.c.run_id == chunk.run_id) & (batches.c.chunk == chunk.number)
                    self._mark(connection, theirs, mark)
            connection.execute(runs.update().where(runs.c.id == lease.run_id).values(**run_values))

    def forget(self, lease: Lease) -> None:
        """Remove a run of which nothing was prepared: its input turned out to be wrong."""
        with self._owned(lease) as connection:
            connection.execute(events.delete().where(events.c.run_id == lease.run_id))
            connection.execute(runs.delete().where(runs.c.id == lease.run_id))

    def chunks(self, run_id: str) -> tuple[ChunkRecord, ...]:
        """In source order."""
        rows = self._read(chunks.select().where(chunks.c.run_id == run_id).order_by(chunks.c.number))
        return tuple(_chunk(row) for row in rows)

    def batches(self, run_id: str) -> tuple[BatchRecord, ...]:
        """Every posting, by chunk, attempt and posting."""
        query = batches.select().where(batches.c.run_id == run_id)
        return tuple(_batch(row) for row in self._read(query.order_by(*batches.primary_key.columns)))

    def batch(self, chunk: ChunkRecord) -> BatchRecord:
        """The batch of the chunk's current attempt and posting."""
        return _batch(self._read(batches.select().where(_batch_of(chunk)))[0])

    def batch_ids(self, account: str, since: datetime) -> frozenset[str]:
        """Ids at the provider of the batches posted under `account` since then, of all runs."""
        mine = (batches.c.account == account) & (batches.c.intended_at >= since - _LONGEST_UPLOAD)
        query = sa.select(batches.c.batch_id).where(mine & batches.c.batch_id.is_not(None))
        return frozenset(row.batch_id for row in self._read(query))

    def unconfirmed(self, batch: BatchRecord) -> int:
        """How many other postings of as many requests under the same account may also have a batch nobody knows of."""
        like_it = (batches.c.account == batch.account) & (batches.c.requests == batch.requests)
        open_ones = batches.c.batch_id.is_(None) & batches.c.ended_at.is_(None)
        others = batches.c.submission_key != batch.submission_key
        query = sa.select(sa.func.count()).select_from(batches).where(like_it & open_ones & others)
        return int(self._read(query)[0][0])

    def all_batches(self, limit: int = 100) -> tuple[BatchRecord, ...]:
        """Newest first, over all runs."""
        query = batches.select().order_by(batches.c.intended_at.desc()).limit(limit)
        return tuple(_batch(row) for row in self._read(query))

    def move(
        self,
        lease: Lease,
        chunk: ChunkRecord,
        to: ChunkState,
        detail: str,
        *,
        batch: BatchRecord | None = None,
        batch_values: Mapping[str, Any] | None = None,
        **chunk_values: Any,
    ) -> ChunkRecord:
        """One step of a chunk's life: its new state, its batch (inserted, or updated) and an event, together.

        Progress ends a wait and a row of faults: what tells of them is cleared unless given.
        """
        if to not in MOVES[chunk.state]:
            raise IntegrityError(f"chunk {chunk.number}: cannot go from {chunk.state} to {to}")
        rested = {"not_before": None, "waiting_for": None, "faults": 0, "silent_since": None}
        values = {**rested, **chunk_values, "state": to}
        with self._owned(lease) as connection:
            self._change(connection, chunk, values)
            if batch is not None:
                connection.execute(batches.insert().values(**asdict(batch)))
            if batch_values:
                connection.execute(batches.update().where(_batch_of(chunk)).values(**batch_values))
            self._log(connection, lease.run_id, to, detail, chunk)
        return _replace(chunk, values)

    def postpone(
        self,
        lease: Lease,
        chunk: ChunkRecord,
        until: datetime,
        reason: str,
        *,
        fault: bool = False,
        batch_values: Mapping[str, Any] | None = None,
    ) -> ChunkRecord:
        """Nothing to do for the chunk before `until`. A fault is counted and logged; anything else ends a row of them."""
        values = {
            "not_before": until,
            "waiting_for": reason,
            "faults": chunk.faults + 1 if fault else 0,
            "silent_since": (chunk.silent_since or self._clock.now()) if fault else None,
        }
        with self._owned(lease) as connection:
            self._change(connection, chunk, values)
            if batch_values:
                connection.execute(batches.update().where(_batch_of(chunk)).values(**batch_values))
            if fault:
                self._log(connection, lease.run_id, "fault", reason, chunk)
        return _replace(chunk, values)

    def mark(self, lease: Lease, chunk: ChunkRecord, what: str) -> None:
        """Add to the history of the chunk's current batch that `what` happens now."""
        with self._owned(lease) as connection:
            self._mark(connection, _batch_of(chunk), what)

    def tidied(self, lease: Lease) -> None:
        """All provider files of the run are deleted."""
        with self._owned(lease) as connection:
            mine = (batches.c.run_id == lease.run_id) & batches.c.tidied_at.is_(None)
            connection.execute(batches.update().where(mine).values(tidied_at=self._clock.now()))

    def enqueued_tokens(self, account: str, model: str) -> int:
        """Estimated prompt tokens in all open batches of (account, model), over all runs but those that are over."""
        open_ones = (batches.c.account == account) & (batches.c.model == model) & batches.c.ended_at.is_(None)
        over = runs.c.state.in_(OVER)  # nobody sees their batches end
        query = sa.select(sa.func.coalesce(sa.func.sum(batches.c.tokens_estimate), 0))
        total = self._read(query.join(runs, runs.c.id == batches.c.run_id).where(open_ones & ~over))
        return int(total[0][0])

    def note(self, lease: Lease, kind: str, detail: str) -> None:
        """Add an event to the run's history."""
        with self._owned(lease) as connection:
            self._log(connection, lease.run_id, kind, detail)

    def history(self, run_id: str, limit: int = 1000) -> tuple[Event, ...]:
        """Oldest first, the last `limit` events."""
        query = events.select().where(events.c.run_id == run_id).order_by(events.c.id.desc()).limit(limit)
        rows = self._read(query)
        return tuple(Event(row.at, row.kind, row.detail, row.chunk, row.attempt) for row in reversed(rows))

    # How it is done

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except OperationalError as error:
            reason = str(error.orig).split("\n")[0]
            raise StorageError(
                f"ledger: {reason}; nothing is lost, run the same command again when the database answers"
            ) from error

    @contextmanager
    def _owned(self, lease: Lease) -> Iterator[Connection]:
        with self._write() as connection:
            mine = (runs.c.id == lease.run_id) & (runs.c.fence == lease.fence)
            # An update rather than a read: on PostgreSQL it holds the row until this transaction ends.
            held = connection.execute(runs.update().where(mine).values(fence=lease.fence))
            if held.rowcount != 1:
                raise LeaseLost(
                    f"run {lease.run_id}: cancelled, or taken over by another process; this one stops here"
                )
            yield connection

    def _read(self, query: sa.Select[Any]) -> list[Row[Any]]:
        with self._engine.connect().execution_options(reading=True) as connection:
            return list(connection.execute(query))

    def _runs(self, query: sa.Select[Any]) -> tuple[RunRecord, ...]:
        return tuple(_run(row) for row in self._read(query))

    def _change(self, connection: Connection, chunk: ChunkRecord, values: Mapping[str, Any]) -> None:
        this = (chunks.c.run_id == chunk.run_id) & (chunks.c.number == chunk.number)
        changed = connection.execute(
            chunks.update().where(this, chunks.c.state == chunk.state).values(**values)
        )
        if changed.rowcount != 1:
            raise IntegrityError(f"chunk {chunk.number}: is no longer {chunk.state} in the ledger")

    def _mark(self, connection: Connection, which: sa.ColumnElement[bool], what: str) -> None:
        for row in connection.execute(batches.select().where(which)).all():
            history = [*(row.history or ()), [what, self._clock.now().isoformat()]]
            this = batches.c.submission_key == row.submission_key
            connection.execute(batches.update().where(this).values(history=history))

    def _log(
        self, connection: Connection, run_id: str, kind: str, detail: str, chunk: ChunkRecord | None = None
    ) -> None:
        values: dict[str, Any] = {"run_id": run_id, "at": self._clock.now(), "kind": kind, "detail": detail}
        if chunk is not None:
            values |= {"chunk": chunk.number, "attempt": chunk.attempt}
        connection.execute(events.insert().values(**values))


def _batch_of(chunk: ChunkRecord) -> sa.ColumnElement[bool]:
    return sa.and_(
        batches.c.run_id == chunk.run_id,
        batches.c.chunk == chunk.number,
        batches.c.attempt == chunk.attempt,
        batches.c.posting == chunk.posting,
    )


def _replace(chunk: ChunkRecord, values: Mapping[str, Any]) -> ChunkRecord:
    return ChunkRecord(
        **{field.name: values.get(field.name, getattr(chunk, field.name)) for field in fields(chunk)}
    )


def _run(row: Row[Any]) -> RunRecord:
    return RunRecord(**{**row._mapping, "state": RunState(row.state)})


def _chunk(row: Row[Any]) -> ChunkRecord:
    return ChunkRecord(**{**row._mapping, "state": ChunkState(row.state)})


def _batch(row: Row[Any]) -> BatchRecord:
    history = tuple((status, at) for status, at in row.history)
    return BatchRecord(**{**row._mapping, "history": history, "result_files": tuple(row.result_files or ())})
