"""Queries over the ledger's tables, their rows as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from tasks.ledger.records import BatchRecord, ChunkRecord, RunRecord
from tasks.ledger.schema import batches, chunks
from tasks.ledger.transactions import Transactions
from tasks.ledger.transitions import ChunkState, RunState

# Of the chunk that it is joined with.
is_current_batch = sa.and_(
    chunks.c.run_id == batches.c.run_id,
    chunks.c.number == batches.c.chunk,
    chunks.c.attempt == batches.c.attempt,
    chunks.c.posting == batches.c.posting,
)


def query_runs(transactions: Transactions, query: sa.Select[Any]) -> tuple[RunRecord, ...]:
    """Runs in the order of the query."""
    return tuple(as_run(row._mapping) for row in transactions.read(query))


def read_chunks(
    transactions: Transactions, run_id: str, *conditions: sa.ColumnElement[bool]
) -> tuple[ChunkRecord, ...]:
    """A run's chunks in source order; only those that meet the conditions."""
    query = chunks.select().where(chunks.c.run_id == run_id, *conditions).order_by(chunks.c.number)
    return tuple(_chunk(row) for row in transactions.read(query))


def read_batches(
    transactions: Transactions, run_id: str, *conditions: sa.ColumnElement[bool]
) -> tuple[BatchRecord, ...]:
    """A run's postings by chunk, attempt and posting; only those that meet the conditions."""
    query = batches.select().where(batches.c.run_id == run_id, *conditions)
    return query_batches(transactions, query.order_by(*batches.primary_key.columns))


def query_batches(transactions: Transactions, query: sa.Select[Any]) -> tuple[BatchRecord, ...]:
    """Postings in the order of the query."""
    return tuple(as_batch(row._mapping) for row in transactions.read(query))


def current_batch(chunk: ChunkRecord) -> sa.ColumnElement[bool]:
    """The condition that a batch is the one of the chunk's current attempt and posting."""
    return sa.and_(
        batches.c.run_id == chunk.run_id,
        batches.c.chunk == chunk.number,
        batches.c.attempt == chunk.attempt,
        batches.c.posting == chunk.posting,
    )


def as_run(values: Mapping[Any, Any]) -> RunRecord:
    """A row of `runs`, by column."""
    return RunRecord(**{**values, "state": RunState(values["state"])})


def _chunk(row: Row[Any]) -> ChunkRecord:
    return ChunkRecord(**{**row._mapping, "state": ChunkState(row.state)})


def as_batch(values: Mapping[Any, Any]) -> BatchRecord:
    """A row of `batches`, by column."""
    history = tuple((status, seen_at) for status, seen_at in values["history"])
    result_files = tuple(values["result_files"] or ())
    return BatchRecord(**{**values, "history": history, "result_files": result_files})
