"""The ledger's tables. Row-level data never goes here; it lives in the run folder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job", String(63), nullable=False),
    Column("key", String(63), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("logical_date", Date, nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", JSON, nullable=False),  # the resolved job
    Column("identity", JSON, nullable=False),
    Column("folder", Text, nullable=False),  # below the runs URL
    Column("origin", String(64), index=True),  # the Prefect flow run that began it
    Column("source_fingerprint", String(64)),
    Column("bad_lines", BigInteger, nullable=False, default=0),  # left out of the source by request
    Column("lease_owner", String(128)),
    Column("lease_until", UtcDateTime),
    Column("fence", BigInteger, nullable=False, default=0),
    Column("estimate", JSON),  # of tokens and cost, when its requests were made
    Column("receipt", JSON),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    # Begun to ask every row again, whatever earlier runs answered.
    Column("redo", Boolean, nullable=False, default=False, server_default=false()),
    # Nothing is posted before then: the account cannot pay, for the reason that the provider gave.
    Column("paused_until", UtcDateTime),
    Column("pauses", Integer, nullable=False, default=0, server_default="0"),  # since it could
    Column("pause_reason", Text),
    # Requests of which other runs are counted alike by their vendor: the same but for the rows' texts; the same in kind.
    Column("prompt_key", String(32), index=True),
    Column("prompt_kind", String(32), index=True),
    Column("approved_at", UtcDateTime),  # somebody let it post although its price is high
    Column("approved_by", String(200)),
    # Where its source is prepared range by range, while what is prepared is posted: rows of each but the last, how many there
    # are, how many are recorded, and how many never will be, since the source changed.
    Column("range_rows", Integer),
    Column("ranges", Integer),
    Column("ranges_prepared", Integer),
    Column("ranges_left_out", Integer),
    UniqueConstraint("job", "key", "generation"),
)

chunks = Table(
    "chunks",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("first_row", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("posting", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False),  # of the current attempt, as are the next two
    Column("bytes", BigInteger, nullable=False),
    Column("tokens_estimate", BigInteger, nullable=False),
    Column("not_before", UtcDateTime),  # nothing to do for this chunk until then
    Column("waiting_for", Text),  # why
    Column("faults", Integer, nullable=False, default=0),  # transient errors in a row
    Column("silent_since", UtcDateTime),  # the first of them
    # Replies in a row that cannot be the answer: about another batch, or a download that is not whole.
    Column("unreliable_replies", Integer, nullable=False, default=0, server_default="0"),
    Column("silence_warned_at", UtcDateTime),  # somebody was told that it takes longer than the job allows
    Column("at_risk_since", UtcDateTime),  # its batch may expire, and all its answers with it
    Column("stats", JSON),  # of the merge
    Column("not_posted", Text),  # which budget kept what was left from being posted
    Column("prompt", JSON),  # what its requests ask of whom, where they say it themselves
    # Since the job's deadline: how its rows are asked from here on, `batch` where the deadline's caps do not carry them.
    Column("lane", String(16)),
    # What of those caps it takes until that posting is recorded.
    Column("lane_rows", BigInteger),
    Column("lane_usd", Float),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)

batches = Table(
    "batches",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("posting", Integer, primary_key=True),
    Column("submission_key", String(64), nullable=False, unique=True),
    Column("account", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("tokens_estimate", BigInteger, nullable=False),
    Column("file_id", String(200)),
    Column("batch_id", String(200)),
    Column("status", String(32)),
    Column("history", JSON, nullable=False),  # [[status of its service, first seen at], ...]
    Column("total", BigInteger),
    Column("completed", BigInteger),
    Column("failed", BigInteger),
    Column("result_files", JSON),  # the provider's ids of output and error file
    Column("error_code", String(200)),
    Column("error_message", Text),
    Column("error_line", Integer),  # of the posted file, from 1, where the error is one line's
    Column("error_custom_id", Text),  # on that line
    Column("intended_at", UtcDateTime, nullable=False),
    Column("create_sent_at", UtcDateTime),  # the call that creates it went out, the last time
    Column("submitted_at", UtcDateTime),
    # Found again after a lost reply, and not named by the reply to its creation.
    Column("adopted", Boolean, nullable=False, default=False, server_default=false()),
    Column("ended_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("cancel_asked_at", UtcDateTime),
    Column("stopped_at", UtcDateTime),  # somebody had the run cancelled, or its deadline had passed
    Column("retried_at", UtcDateTime),  # somebody had the finished run ask again
    Column("polls", Integer, nullable=False, default=0),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost_usd", Float),
    Column("answered_requests", BigInteger),  # those that the model answered, by the result lines
    Column("counted_requests", BigInteger),  # answers that say their tokens
    Column("output_p95", BigInteger),  # tokens that 95 of 100 of them keep to
    Column("cache_write_tokens", BigInteger),
    Column("cache_write_usd", Float),  # what writing them cost more than as plain input
    Column("cache_saved_usd", Float),  # what reading `cached_tokens` cost less
    Column("tidied_at", UtcDateTime),  # provider files deleted
    Column("provider", String(32)),  # its name in the job
    # What it counts for in budgets until its tokens and cost are known.
    Column("reserved_tokens", BigInteger),
    Column("reserved_usd", Float),
    Column("left_queue_at", UtcDateTime),  # another run has seen that it ended: its own was cancelled
    Column("lane", String(16)),  # of the real-time calls that answer it; null for a batch of the provider
    ForeignKeyConstraint(["run_id", "chunk"], ["chunks.run_id", "chunks.number"]),
)
Index("batches_by_account", batches.c.account, batches.c.model, batches.c.ended_at)
Index("batches_by_intent", batches.c.intended_at)
Index("batches_by_end", batches.c.ended_at)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("run_id", String(32), nullable=False),
    Column("chunk", Integer),
    Column("attempt", Integer),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)
Index("events_by_run", events.c.run_id, events.c.id)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Integer, primary_key=True),  # there is one row
    Column("lease_owner", String(128)),
    Column("lease_until", UtcDateTime),
    Column("completed_at", UtcDateTime),  # the last that looked at everything
)

admissions = Table(
    "admissions",
    metadata,
    Column("id", Integer, primary_key=True),  # there is one row: whoever writes it posts next
    Column("asked", BigInteger, nullable=False),
)

quotas = Table(
    "quotas",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("source", String(32), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("learned_at", UtcDateTime, nullable=False),
)

waiters = Table(
    "waiters",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("account", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("looks", Integer, nullable=False),  # so often there was no room
    Column("next_look_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["run_id", "chunk"], ["chunks.run_id", "chunks.number"], ondelete="CASCADE"),
)

reuse_indexes = Table(
    "reuse_indexes",
    metadata,
    Column("job", String(63), primary_key=True),
    Column("version", BigInteger, nullable=False),  # one more with every run that writes one
    Column("path", Text, nullable=False),  # below the runs URL
)

Record = dict[str, Any]
