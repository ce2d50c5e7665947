"""The ledger over all runs: find them, create one, claim one, and what they share at a provider account.

What one run writes is in `RunLedger`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError as DuplicateRow

from configs.clock import Clock
from configs.errors import RunBusy
from tasks.ledger import admission, ended
from tasks.ledger.caps import SpendingCap
from tasks.ledger.database import open_database
from tasks.ledger.ended import EndedBatch, ReusingRun, Span
from tasks.ledger.leases import describe_owner
from tasks.ledger.listing import Listing
from tasks.ledger.reading import is_current_batch, query_batches, query_runs, read_batches, read_chunks
from tasks.ledger.records import BatchRecord, ChunkRecord, Event, IndexRecord, RunRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.schema import batches, events, reuse_indexes, runs
from tasks.ledger.schema import chunks as chunks_table
from tasks.ledger.transactions import Transactions
from tasks.ledger.transitions import INACTIVE, ChunkState, RunState

_LONGEST_UPLOAD = timedelta(days=1)  # from the intent to the batch


class Ledger:
    """The database at `url`, read and written with the time of `clock`."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._transactions = Transactions(open_database(url))
        self._clock = clock
        self.listing = Listing(self._transactions)

    # Runs

    def latest_run(self, job: str, key: str) -> RunRecord | None:
        """The newest generation of (job, key)."""
        query = runs.select().where(runs.c.job == job, runs.c.key == key)
        return self._first_run(query.order_by(runs.c.generation.desc()))

    def get_run(self, run_id: str) -> RunRecord | None:
        """The run with that id."""
        return self._first_run(runs.select().where(runs.c.id == run_id))

    def run_of_origin(self, origin: str) -> RunRecord | None:
        """The run that a flow run began, whatever the date has become since."""
        query = runs.select().where(runs.c.origin == origin)
        return self._first_run(query.order_by(runs.c.created_at.desc()))

    def recent_runs(self, limit: int = 20) -> tuple[RunRecord, ...]:
        """Newest first."""
        return query_runs(self._transactions, runs.select().order_by(runs.c.created_at.desc()).limit(limit))

    def jobs(self) -> list[str]:
        """Names of the jobs that have a run, in their order."""
        query = sa.select(runs.c.job).distinct().order_by(runs.c.job)
        return [row.job for row in self._transactions.read(query)]

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
        redo: bool = False,
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
            "redo": redo,
            "fence": 0,
            "created_at": self._clock.now(),
        }
        try:
            with self._transactions.write() as connection:
                connection.execute(runs.insert().values(values))
        except DuplicateRow as error:
            raise RunBusy(
                f"{job} {key}: another process is starting this run; look with `nightmail status`"
            ) from error

    def approve(self, run_id: str, by: str) -> None:
        """Note that a person lets the run post although its price is high; what waits for that is due now."""
        now = self._clock.now()
        event = {"run_id": run_id, "at": now, "kind": "approved", "detail": f"by {by}"}
        with self._transactions.write() as connection:
            connection.execute(
                runs.update().where(runs.c.id == run_id).values(approved_at=now, approved_by=by[:200])
            )
            unposted = (chunks_table.c.run_id == run_id) & (chunks_table.c.state == ChunkState.PREPARED)
            connection.execute(
                chunks_table.update().where(unposted).values(not_before=None, waiting_for=None)
            )
            connection.execute(events.insert().values(**event))

    def look_now(self, provider: str, batch_id: str, why: str) -> tuple[RunRecord, ...]:
        """The runs that wait for this batch of the provider, oldest first: its chunk is due now, whatever it was to wait for; `why`
        is kept as an event.

        Where it was so already nothing is written, nor for a batch that no run waits for (any more).
        """
        waiting = (
            sa.select(chunks_table)
            .join(batches, is_current_batch)
            .join(runs, runs.c.id == chunks_table.c.run_id)
            .where(
                batches.c.ended_at.is_(None), batches.c.batch_id == batch_id, batches.c.provider == provider
            )
            .where(chunks_table.c.state == ChunkState.SUBMITTED, runs.c.state.not_in(INACTIVE))
        )
        found = self._transactions.read(waiting)
        if any(chunk.not_before is not None for chunk in found):
            with self._transactions.write() as connection:
                for chunk in found:
                    self._make_due(connection, chunk, why)
        query = runs.select().where(runs.c.id.in_([chunk.run_id for chunk in found]))
        return query_runs(self._transactions, query.order_by(runs.c.created_at)) if found else ()

    def supersede(self, run_id: str) -> None:
        """End a restored run that nobody has claimed, because its redo was restored too: `clean` looks after it."""
        unclaimed = (runs.c.id == run_id) & runs.c.lease_owner.is_(None)
        with self._transactions.write() as connection:
            connection.execute(runs.update().where(unclaimed).values(state=RunState.CANCELLED))

    def restore_run(self, run: RunRecord, chunks: Sequence[ChunkRecord], reason: str) -> None:
        """Insert a run that this ledger lacks, with its chunks; RunBusy if someone else has just done it."""
        event = {"run_id": run.id, "at": self._clock.now(), "kind": "restored", "detail": reason}
        try:
            with self._transactions.write() as connection:
                connection.execute(runs.insert().values(asdict(run)))
                connection.execute(chunks_table.insert(), [asdict(chunk) for chunk in chunks])
                connection.execute(events.insert().values(**event))
        except DuplicateRow as error:
            raise RunBusy(
                f"{run.job} {run.key}: another process is starting this run; look with `nightmail status`"
            ) from error

    def claim(
        self, run_id: str, owner: str, seconds: float, is_dead: Callable[[str], bool], *, force: bool = False
    ) -> RunLedger:
        """Take the run's lease for `seconds`. RunBusy names the holder of a live one, unless it is dead or `force`."""
        now = self._clock.now()
        with self._transactions.write() as connection:
            holder = connection.execute(sa.select(runs.c.lease_owner).where(runs.c.id == run_id)).scalar()
            lapsed = runs.c.lease_until.is_(None) | (runs.c.lease_until <= now)
            orphaned = runs.c.lease_owner == holder if holder and (force or is_dead(holder)) else sa.false()
            taken = connection.execute(
                runs.update()
                .where(runs.c.id == run_id, lapsed | orphaned)
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
        return RunLedger(self._transactions, self._clock, run_id, row.fence)

    # What belongs to a run, for those who only look

    def chunks(self, run_id: str) -> tuple[ChunkRecord, ...]:
        """In source order."""
        return read_chunks(self._transactions, run_id)

    def batches(self, run_id: str) -> tuple[BatchRecord, ...]:
        """Every posting, by chunk, attempt and posting."""
        return read_batches(self._transactions, run_id)

    def history(self, run_id: str, limit: int = 1000) -> tuple[Event, ...]:
        """Oldest first, the last `limit` events."""
        query = events.select().where(events.c.run_id == run_id).order_by(events.c.id.desc()).limit(limit)
        rows = self._transactions.read(query)
        return tuple(Event(row.at, row.kind, row.detail, row.chunk, row.attempt) for row in reversed(rows))

    # What runs of a job share

    def reuse_index(self, job: str) -> IndexRecord | None:
        """The job's index of earlier answers; None before the first."""
        rows = self._transactions.read(reuse_indexes.select().where(reuse_indexes.c.job == job))
        return IndexRecord(**rows[0]._mapping) if rows else None

    def forget_reuse_index(self, job: str) -> None:
        """The job has no index any more."""
        with self._transactions.write() as connection:
            connection.execute(reuse_indexes.delete().where(reuse_indexes.c.job == job))

    # What all runs have posted

    def batch_ids(self, account: str, since: datetime) -> frozenset[str]:
        """Ids at the provider of the batches posted under `account` since then, of all runs."""
        recent = (batches.c.account == account) & (batches.c.intended_at >= since - _LONGEST_UPLOAD)
        query = sa.select(batches.c.batch_id).where(recent & batches.c.batch_id.is_not(None))
        return frozenset(row.batch_id for row in self._transactions.read(query))

    def unconfirmed(self, batch: BatchRecord) -> int:
        """How many other postings of as many requests under the same account may also have a batch nobody knows of."""
        alike = (batches.c.account == batch.account) & (batches.c.requests == batch.requests)
        unknown = batches.c.batch_id.is_(None) & batches.c.ended_at.is_(None)
        others = batches.c.submission_key != batch.submission_key
        query = sa.select(sa.func.count()).select_from(batches).where(alike & unknown & others)
        return int(self._transactions.read(query)[0][0])

    def counted_batches(
        self, limit: int, *, prompt_key: str | None = None, prompt_kind: str | None = None
    ) -> tuple[BatchRecord, ...]:
        """The newest finished first postings of runs with that prompt, or of that kind, whose answers say their tokens."""
        ours = runs.c.prompt_key == prompt_key if prompt_key else runs.c.prompt_kind == prompt_kind
        known = (
            (batches.c.counted_requests > 0)
            & (batches.c.tokens_estimate > 0)
            & batches.c.ended_at.is_not(None)
        )
        first = batches.c.attempt == 1  # what follow-ups ask is counted by their share of the bytes
        query = batches.select().join(runs, runs.c.id == batches.c.run_id).where(ours & known & first)
        return query_batches(self._transactions, query.order_by(batches.c.ended_at.desc()).limit(limit))

    def ended_batches(self, period: Span, job: str | None = None) -> Iterator[EndedBatch]:
        """The batches of all runs that ended in that time, oldest first, as they are read."""
        query = ended.batches_query(period, job)
        return (EndedBatch._make(row) for row in self._transactions.stream(query))

    def reusing_runs(self, period: Span, job: str | None = None) -> Iterator[ReusingRun]:
        """The runs finished in that time in which rows took over earlier answers, oldest first, as they are read."""
        query = ended.reusing_runs_query(period, job)
        return (ReusingRun._make(row) for row in self._transactions.stream(query))

    def spent(self, cap: SpendingCap, run_id: str) -> float:
        """What counts against the cap now: what batches have cost, and what those in flight may."""
        return admission.count_spent(cap, self._transactions.read(admission.spent_query(cap, run_id)))

    def promised(self, cap: SpendingCap, run_id: str) -> float:
        """The part of `spent` that nobody knows yet: what batches in flight reserve."""
        return admission.count_spent(cap, self._transactions.read(admission.promised_query(cap, run_id)))

    def forsaken_batches(self, account: str, model: str) -> tuple[BatchRecord, ...]:
        """Open batches of (account, model) whose runs are over, so that nobody sees them end: oldest first."""
        is_open = admission.is_open(account, model, self._clock.now()) & batches.c.batch_id.is_not(None)
        over = sa.select(runs.c.id).where(runs.c.state.in_(INACTIVE))
        query = batches.select().where(is_open, batches.c.run_id.in_(over))
        return query_batches(self._transactions, query.order_by(batches.c.intended_at))

    def note_left_queue(self, batch: BatchRecord) -> None:
        """A batch whose run is over has ended: it takes no more room. What it answered is still that run's to fetch."""
        this = (batches.c.submission_key == batch.submission_key) & batches.c.ended_at.is_(None)
        with self._transactions.write() as connection:
            connection.execute(batches.update().where(this).values(left_queue_at=self._clock.now()))

    def _make_due(self, connection: Connection, chunk: sa.Row[Any], why: str) -> None:
        """Unless it is, or has gone on since it was read."""
        waits = (chunks_table.c.run_id == chunk.run_id) & (chunks_table.c.number == chunk.number)
        as_read = (chunks_table.c.state == chunk.state) & (chunks_table.c.attempt == chunk.attempt)
        update = chunks_table.update().where(waits & as_read & chunks_table.c.not_before.is_not(None))
        if connection.execute(update.values(not_before=None)).rowcount:
            event = {"run_id": chunk.run_id, "chunk": chunk.number, "attempt": chunk.attempt}
            connection.execute(
                events.insert().values(**event, at=self._clock.now(), kind="webhook", detail=why)
            )

    def _first_run(self, query: sa.Select[Any]) -> RunRecord | None:
        return next(iter(query_runs(self._transactions, query.limit(1))), None)
