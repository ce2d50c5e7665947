"""One run in the ledger, read and written by the process that holds its lease."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError as DuplicateRow

from configs.clock import Clock
from configs.errors import IntegrityError, LeaseLost
from tasks.ledger import admission
from tasks.ledger.caps import OverBudget, Refusal, SpendingCap
from tasks.ledger.reading import (
    as_run,
    current_batch,
    is_current_batch,
    query_batches,
    query_runs,
    read_batches,
    read_chunks,
)
from tasks.ledger.records import BATCHES, BatchRecord, ChunkRecord, IndexRecord, RunRecord
from tasks.ledger.schema import UtcDateTime, batches, chunks, events, reuse_indexes, runs
from tasks.ledger.transactions import Transactions
from tasks.ledger.transitions import MOVES, ChunkState, RunState

_NUMBERS = 5_000  # chunks in one statement: SQLite takes 32,766 values, PostgreSQL 65,535
# What a chunk notes while it waits or its provider fails; progress clears it.
_NO_FAULTS: dict[str, Any] = {
    "faults": 0,
    "unreliable_replies": 0,
    "silent_since": None,
    "silence_warned_at": None,
}
_NOT_WAITING: dict[str, Any] = {**_NO_FAULTS, "not_before": None, "waiting_for": None, "at_risk_since": None}


class RunLedger:
    """The ledger of one run, from `Ledger.claim`.

    `fence` is the number of its lease and grows with every owner. Each change is one transaction that first checks it,
    and raises LeaseLost, changing nothing, when a later owner has taken over.
    """

    def __init__(self, transactions: Transactions, clock: Clock, run_id: str, fence: int) -> None:
        self._transactions = transactions
        self._clock = clock
        self.run_id = run_id
        self.fence = fence
        self._is_this_run = runs.c.id == run_id

    # The lease

    def renew(self, seconds: float) -> None:
        """Push the lease's end to `seconds` from now."""
        self.update_run(lease_until=self._clock.now() + timedelta(seconds=seconds))

    def release(self) -> None:
        """Let the next process take over at once. Silent when the lease is already someone else's."""
        with self._transactions.write() as connection:
            self._write_if_ours(connection, lease_owner=None, lease_until=None)

    def check(self) -> None:
        """Raise LeaseLost unless the lease is still ours: called right before an effect outside the ledger."""
        with self._change():
            pass

    # The run

    def read_run(self) -> RunRecord:
        """The run as it is now."""
        return query_runs(self._transactions, runs.select().where(self._is_this_run))[0]

    def update_run(self, **values: Any) -> None:
        """Set columns of the run."""
        with self._change() as connection:
            self._set_run(connection, values)

    def replace_chunks(
        self, prepared: tuple[ChunkRecord, ...], *, state: RunState, **run_values: Any
    ) -> None:
        """Make `prepared` the run's chunks, once, when preparing is complete."""
        with self._change() as connection:
            connection.execute(chunks.delete().where(chunks.c.run_id == self.run_id))
            if prepared:
                connection.execute(chunks.insert(), [asdict(chunk) for chunk in prepared])
            self._set_run(connection, {"state": state, **run_values})
            self._log(connection, "prepared", f"{len(prepared)} chunks")

    def begin_ranges(self, range_rows: int, ranges: int, **run_values: Any) -> None:
        """From here on the run is posted while the ranges of its source are prepared."""
        values = {"range_rows": range_rows, "ranges": ranges, "ranges_prepared": 0, **run_values}
        with self._change() as connection:
            connection.execute(chunks.delete().where(chunks.c.run_id == self.run_id))
            self._set_run(connection, {"state": RunState.RUNNING, **values})
            self._log(connection, "preparing", f"{ranges} ranges of {range_rows:,} rows")

    def add_chunks(
        self, prepared: Sequence[ChunkRecord], *, ranges_prepared: int, of: int, **run_values: Any
    ) -> None:
        """Add the chunks of the next ranges. IntegrityError unless they begin where those that are recorded end."""
        with self._change() as connection:
            count = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(chunks.c.rows), 0))
            number, row = connection.execute(count.where(chunks.c.run_id == self.run_id)).one()
            for chunk in prepared:
                number += 1
                if (chunk.number, chunk.first_row) != (number, row):
                    raise IntegrityError(
                        f"chunk {chunk.number}: begins at row {chunk.first_row:,}, but chunk {number} is to begin at {row:,}"
                    )
                row += chunk.rows
            connection.execute(chunks.insert(), [asdict(chunk) for chunk in prepared])
            self._set_run(connection, {"ranges_prepared": ranges_prepared, **run_values})
            self._log(connection, "prepared", f"{len(prepared)} chunks, {ranges_prepared} of {of} ranges")

    def leave_ranges_out(self, count: int, reason: str) -> None:
        """The run ends with the ranges that are recorded."""
        with self._change() as connection:
            self._set_run(connection, {"ranges_left_out": count})
            self._log(connection, "left out", reason)

    def begin_publishing(self) -> None:
        """IntegrityError, and nothing changes, while a range of the source is still to be prepared."""
        with self._change() as connection:
            run = as_run(connection.execute(runs.select().where(self._is_this_run)).one()._mapping)
            if run.ranges_missing:
                raise IntegrityError(
                    f"{run.title}: {run.ranges_missing} of {run.ranges} ranges are not prepared, so nothing is published;"
                    " run the same command again"
                )
            self._set_run(connection, {"state": RunState.PUBLISHING})

    def reopen(
        self, waiting: Sequence[ChunkRecord], reason: str, *, retry: bool = False, **run_values: Any
    ) -> None:
        """A run that was over goes on: the merged chunks `waiting` are merged anew, which posts what they still lack.

        With `retry` the attempts that they have had do not count any more.
        """
        with self._change() as connection:
            for chunk in waiting:
                self._set_chunk(connection, chunk, {"state": ChunkState.COLLECTED, "not_posted": None})
                self._log(connection, ChunkState.COLLECTED, reason, chunk)
                if retry:
                    of_chunk = (batches.c.run_id == self.run_id) & (batches.c.chunk == chunk.number)
                    retried = batches.update().where(of_chunk)
                    connection.execute(retried.values(retried_at=self._clock.now()))
            self._set_run(connection, run_values)

    def pause(self, until: datetime, reason: str) -> None:
        """Post nothing before `until`: the account cannot pay."""
        with self._change() as connection:
            values = {"paused_until": until, "pauses": runs.c.pauses + 1, "pause_reason": reason}
            self._set_run(connection, values)
            self._log(connection, "paused", f"until {until:%Y-%m-%d %H:%M} UTC: {reason}")

    def end_pause(self, why: str, **run_values: Any) -> None:
        """Post again."""
        with self._change() as connection:
            self._set_run(connection, {"paused_until": None, "pause_reason": None, **run_values})
            self._log(connection, "goes on", why)

    def delete_run(self) -> None:
        """Remove a run of which nothing was prepared: its input turned out to be wrong."""
        with self._change() as connection:
            connection.execute(events.delete().where(events.c.run_id == self.run_id))
            connection.execute(runs.delete().where(self._is_this_run))

    # Its chunks

    def chunks(self) -> tuple[ChunkRecord, ...]:
        """All of them, in source order."""
        return read_chunks(self._transactions, self.run_id)

    def chunk(self, number: int) -> ChunkRecord:
        """One of them as it is now."""
        return read_chunks(self._transactions, self.run_id, chunks.c.number == number)[0]

    def rows(self) -> int:
        """The rows of all chunks together."""
        total = sa.select(sa.func.coalesce(sa.func.sum(chunks.c.rows), 0)).where(
            chunks.c.run_id == self.run_id
        )
        return int(self._transactions.read(total)[0][0])

    def others_on_their_way(self, chunk: ChunkRecord) -> bool:
        """Whether another chunk of the run is posted, or its answers are not merged yet, or it has left its batch; not one
        that was refused."""
        left_batch = chunks.c.lane_rows.is_not(None)
        still = left_batch | chunks.c.state.not_in((ChunkState.PREPARED, ChunkState.MERGED))
        refused = sa.exists().where(is_current_batch, admission.never_asked)
        query = sa.select(chunks.c.number).where(chunks.c.run_id == self.run_id, still & ~refused)
        return bool(self._transactions.read(query.where(chunks.c.number != chunk.number).limit(1)))

    def is_look_due(self) -> bool:
        """Whether somebody has ended a chunk's wait for its batch: see `Ledger.look_now`."""
        due = (chunks.c.state == ChunkState.SUBMITTED) & chunks.c.not_before.is_(None)
        query = sa.select(chunks.c.number).where(chunks.c.run_id == self.run_id, due)
        return bool(self._transactions.read(query.limit(1)))

    def first_stat(self, name: str) -> int | None:
        """The whole number that the first merged chunk to have one notes under that name in its `stats`."""
        value = chunks.c.stats[name].as_integer()
        noted = sa.select(value).where(chunks.c.run_id == self.run_id, value.is_not(None))
        first = self._transactions.read(noted.order_by(chunks.c.number).limit(1))
        return first[0][0] if first else None

    def lone_request_before(self, chunk: ChunkRecord) -> ChunkRecord | None:
        """The first other chunk of one request that is on its way, or will be before this one; None without one."""
        on_its_way = chunks.c.state.not_in((ChunkState.PREPARED, ChunkState.MERGED))
        before = (chunks.c.state == ChunkState.PREPARED) & (chunks.c.number < chunk.number)
        alone = (chunks.c.requests == 1) & (chunks.c.number != chunk.number)
        return next(iter(read_chunks(self._transactions, self.run_id, alone, on_its_way | before)), None)

    def move(
        self,
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
        with self._change() as connection:
            return self._move(connection, chunk, to, detail, batch, batch_values, chunk_values)

    def move_if_admitted(
        self,
        chunk: ChunkRecord,
        to: ChunkState,
        detail: str,
        *,
        batch: BatchRecord,
        configured: int | None,
        caps: tuple[SpendingCap, ...],
        next_look: datetime,
        **chunk_values: Any,
    ) -> ChunkRecord | Refusal:
        """`move` with a batch that is new or was refused, if the account's quota and all budgets have room for it; else why not.

        All runs' batches are counted, in the transaction that adds this one. `configured` is the job's own limit of enqueued
        tokens; whoever waits for room says when it looks again.
        """
        with self._change() as connection:
            admission.lock(connection)
            now = self._clock.now()  # others may have been posted while this waited for its turn
            intended = replace(batch, intended_at=now)
            refusal = admission.admit(connection, intended, configured, caps, now, next_look)
            if refusal is not None:
                return refusal
            return self._move(connection, chunk, to, detail, intended, None, chunk_values)

    def leave_batch(
        self, chunk: ChunkRecord, wanted: BatchRecord, caps: tuple[SpendingCap, ...]
    ) -> ChunkRecord | OverBudget:
        """Let the rest of the chunk's batch be asked by real-time calls, if all budgets and the deadline's caps have room for
        it; else why not. `wanted` is how it would be posted: what that may take is counted until it is."""
        with self._change() as connection:
            admission.lock(connection)
            refusal = admission.over_budget(connection, wanted, caps)
            if refusal is not None:
                return refusal
            values: dict[str, Any] = {
                "lane": wanted.lane,
                "lane_rows": wanted.requests,
                "lane_usd": wanted.reserved_usd,
            }
            self._set_chunk(connection, chunk, values)
            self._log(connection, "deadline", f"{wanted.requests:,} rows leave their batch", chunk)
        return replace(chunk, **values)

    def stay_in_batches(self, chunk: ChunkRecord, reason: str) -> ChunkRecord:
        """The chunk's rows are asked by batches although the deadline has passed."""
        values: dict[str, Any] = {"lane": BATCHES, "lane_rows": None, "lane_usd": None}
        with self._change() as connection:
            self._set_chunk(connection, chunk, values)
            self._log(connection, "deadline", reason, chunk)
        return replace(chunk, **values)

    def learn_quota(self, batch: BatchRecord, stated: int | None) -> None:
        """The service refused an open batch because its queue is full; `stated` is the limit that it named."""
        with self._change() as connection:
            admission.learn(connection, batch, stated, self._clock.now())

    def postpone(
        self,
        chunk: ChunkRecord,
        until: datetime,
        reason: str,
        *,
        batch_values: Mapping[str, Any] | None = None,
        **chunk_values: Any,
    ) -> ChunkRecord:
        """Nothing to do for the chunk before `until`, and nothing is wrong: this ends a row of faults.

        One that was made due since `chunk` was read (`Ledger.look_now`) stays so.
        """
        values = {**_NO_FAULTS, "not_before": until, "waiting_for": reason, **chunk_values}
        with self._change() as connection:
            self._set_chunk(connection, chunk, {**values, "not_before": _unless_due(chunk, until)})
            self._set_batch(connection, chunk, batch_values)
        return replace(chunk, **values)

    def postpone_looked_at(
        self,
        unchanged: Mapping[datetime, Sequence[ChunkRecord]],
        changed: Sequence[tuple[ChunkRecord, dict[str, Any], dict[str, Any]]],
    ) -> None:
        """Chunks whose open batches were looked at together and wait on. Of those `unchanged`, by when they are looked at
        again, only the looks are counted, in one statement for many; the others get new chunk and batch values.

        As with `postpone`, what was made due stays so.
        """
        with self._change() as connection:
            for until, waiting in unchanged.items():
                for start in range(0, len(waiting), _NUMBERS):
                    self._count_looks(connection, waiting[start : start + _NUMBERS], until)
            for chunk, values, batch_values in changed:
                not_before = _unless_due(chunk, values["not_before"])
                self._set_chunk(connection, chunk, {**values, "not_before": not_before})
                self._set_batch(connection, chunk, batch_values)

    def postpone_after_fault(
        self, chunk: ChunkRecord, until: datetime, reason: str, **chunk_values: Any
    ) -> ChunkRecord:
        """The same after a transient error, which is counted and goes into the history."""
        values = {
            "not_before": until,
            "waiting_for": reason,
            "faults": chunk.faults + 1,
            "silent_since": chunk.silent_since or self._clock.now(),
            **chunk_values,
        }
        with self._change() as connection:
            self._set_chunk(connection, chunk, values)
            self._log(connection, "fault", reason, chunk)
        return replace(chunk, **values)

    # Its batches

    def batches(self) -> tuple[BatchRecord, ...]:
        """Every posting, by chunk, attempt and posting."""
        return read_batches(self._transactions, self.run_id)

    def batches_of(self, chunk: ChunkRecord) -> tuple[BatchRecord, ...]:
        """Every posting of a chunk, by attempt and posting."""
        return read_batches(self._transactions, self.run_id, batches.c.chunk == chunk.number)

    def batch(self, chunk: ChunkRecord) -> BatchRecord:
        """The batch of the chunk's current attempt and posting."""
        return read_batches(self._transactions, self.run_id, current_batch(chunk))[0]

    def posted_batches(self) -> dict[int, BatchRecord]:
        """By chunk, the batches that the run waits for or is about to collect."""
        posted = chunks.c.state.in_((ChunkState.SUBMITTED, ChunkState.ENDED))
        query = batches.select().join(chunks, is_current_batch)
        found = query_batches(self._transactions, query.where(batches.c.run_id == self.run_id, posted))
        return {batch.chunk: batch for batch in found}

    def cache_used_at(self) -> datetime | None:
        """When a batch ended that read or wrote a prompt cache, the last of those that are merged; None without one."""
        used = (batches.c.cached_tokens > 0) | (batches.c.cache_write_tokens > 0)
        query = batches.select().where(batches.c.run_id == self.run_id, used, batches.c.ended_at.is_not(None))
        found = query_batches(self._transactions, query.order_by(batches.c.ended_at.desc()).limit(1))
        return found[0].ended_at if found else None

    def update_batch(self, chunk: ChunkRecord, **values: Any) -> None:
        """Set columns of the chunk's current batch."""
        with self._change() as connection:
            self._set_batch(connection, chunk, values)

    def mark_tidied(self) -> None:
        """All provider files of the run are deleted."""
        untidy = (batches.c.run_id == self.run_id) & batches.c.tidied_at.is_(None)
        with self._change() as connection:
            connection.execute(batches.update().where(untidy).values(tidied_at=self._clock.now()))

    # What it shares with the job's other runs

    def switch_reuse_index(self, job: str, before: IndexRecord | None, path: str) -> bool:
        """Make that file the job's index of earlier answers, if it still has the one `before`; False if another run has
        changed it since."""
        version = before.version + 1 if before else 1
        values = {"version": version, "path": path}
        try:
            with self._change() as connection:
                if before is None:
                    connection.execute(reuse_indexes.insert().values(job=job, **values))
                    return True
                seen = (reuse_indexes.c.job == job) & (reuse_indexes.c.version == before.version)
                return connection.execute(reuse_indexes.update().where(seen).values(**values)).rowcount == 1
        except DuplicateRow:
            return False

    # Its history

    def note(self, kind: str, detail: str) -> None:
        """Add an event to the run's history."""
        with self._change() as connection:
            self._log(connection, kind, detail)

    # How it is done

    def _move(
        self,
        connection: Connection,
        chunk: ChunkRecord,
        to: ChunkState,
        detail: str,
        batch: BatchRecord | None,
        batch_values: Mapping[str, Any] | None,
        chunk_values: Mapping[str, Any],
    ) -> ChunkRecord:
        if to not in MOVES[chunk.state]:
            raise IntegrityError(f"chunk {chunk.number}: cannot go from {chunk.state} to {to}")
        values = {**_NOT_WAITING, **chunk_values, "state": to}
        # Its posting counts from here on, or there is none.
        if to in (ChunkState.INTENDED, ChunkState.MERGED):
            values |= {"lane_rows": None, "lane_usd": None}
        self._set_chunk(connection, chunk, values)
        if batch is not None:  # one that was refused is there, and admitted anew
            this = batches.c.submission_key == batch.submission_key
            connection.execute(batches.delete().where(this, admission.never_asked))
            connection.execute(batches.insert().values(**asdict(batch)))
        self._set_batch(connection, chunk, batch_values)
        self._log(connection, to, detail, chunk)
        return replace(chunk, **values)

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        """The transaction of every change but the release of the lease."""
        with self._transactions.write() as connection:
            # An update rather than a read: on PostgreSQL it holds the row until this transaction ends.
            if not self._write_if_ours(connection, fence=self.fence):
                raise LeaseLost(
                    f"run {self.run_id}: cancelled, or taken over by another process; this one stops here"
                )
            yield connection

    def _write_if_ours(self, connection: Connection, **values: Any) -> bool:
        ours = self._is_this_run & (runs.c.fence == self.fence)
        return connection.execute(runs.update().where(ours).values(**values)).rowcount == 1

    def _set_run(self, connection: Connection, values: Mapping[str, Any]) -> None:
        connection.execute(runs.update().where(self._is_this_run).values(**values))

    def _set_chunk(self, connection: Connection, chunk: ChunkRecord, values: Mapping[str, Any]) -> None:
        as_read = sa.and_(
            chunks.c.run_id == self.run_id, chunks.c.number == chunk.number, chunks.c.state == chunk.state
        )
        if connection.execute(chunks.update().where(as_read).values(**values)).rowcount != 1:
            raise IntegrityError(f"chunk {chunk.number}: is no longer {chunk.state} in the ledger")

    def _count_looks(self, connection: Connection, waiting: Sequence[ChunkRecord], until: datetime) -> None:
        numbers = [chunk.number for chunk in waiting]
        these = (chunks.c.run_id == self.run_id) & chunks.c.number.in_(numbers)
        open_ones = chunks.update().where(these, chunks.c.state == ChunkState.SUBMITTED)
        if connection.execute(open_ones.values(not_before=_or_due(until))).rowcount != len(numbers):
            raise IntegrityError(
                f"chunks {numbers[0]} to {numbers[-1]}: not all are still submitted in the ledger"
            )
        current = sa.exists().where(is_current_batch).correlate(batches)
        looked_at = batches.update().where(
            batches.c.run_id == self.run_id, batches.c.chunk.in_(numbers), current
        )
        connection.execute(looked_at.values(polls=batches.c.polls + 1))

    def _set_batch(
        self, connection: Connection, chunk: ChunkRecord, values: Mapping[str, Any] | None
    ) -> None:
        if values:
            connection.execute(batches.update().where(current_batch(chunk)).values(**values))

    def _log(self, connection: Connection, kind: str, detail: str, chunk: ChunkRecord | None = None) -> None:
        values: dict[str, Any] = {
            "run_id": self.run_id,
            "at": self._clock.now(),
            "kind": kind,
            "detail": detail,
        }
        if chunk is not None:
            values |= {"chunk": chunk.number, "attempt": chunk.attempt}
        connection.execute(events.insert().values(**values))


def _unless_due(chunk: ChunkRecord, until: datetime) -> datetime | sa.ColumnElement[datetime | None]:
    """`until` as the end of the chunk's wait, if nobody has ended it since the chunk was read."""
    waited = chunk.state is ChunkState.SUBMITTED and chunk.not_before is not None
    return _or_due(until) if waited else until


def _or_due(until: datetime) -> sa.ColumnElement[datetime | None]:
    return sa.case((chunks.c.not_before.is_(None), sa.null()), else_=sa.literal(until, UtcDateTime()))
