"""Rows of the ledger as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from configs.deadline import Lane
from tasks.ledger.transitions import (
    CANCEL_TAKES,
    INACTIVE,
    LONGEST_WAIT,
    OVERDUE_AFTER,
    QUEUE_FULL,
    ChunkState,
    RunState,
    Situation,
)

BATCHES = "batch"  # the lane of a chunk that the deadline's caps do not carry
RESULTS_INCOMPLETE = "results_incomplete"  # the run gave up before its files could be read whole


@dataclass(frozen=True)
class RunRecord:
    """One execution of a job for one key; `generation` counts `--redo`."""

    id: str
    job: str
    key: str
    generation: int
    logical_date: date
    state: RunState
    spec: dict[str, Any]
    identity: dict[str, Any]
    folder: str
    origin: str | None
    source_fingerprint: str | None
    bad_lines: int
    lease_owner: str | None
    lease_until: datetime | None
    fence: int
    estimate: dict[str, Any] | None
    receipt: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    redo: bool = False
    paused_until: datetime | None = None
    pauses: int = 0
    pause_reason: str | None = None
    prompt_key: str | None = None
    prompt_kind: str | None = None
    approved_at: datetime | None = None
    approved_by: str | None = None
    range_rows: int | None = None
    ranges: int | None = None
    ranges_prepared: int | None = None
    ranges_left_out: int | None = None

    @property
    def ranges_missing(self) -> int:
        """How many ranges of its source are still to be prepared while it is posted."""
        return (self.ranges or 0) - (self.ranges_prepared or 0) - (self.ranges_left_out or 0)

    @property
    def preparing(self) -> str | None:
        """How much of its source is prepared, in words; None when all of it is, or the run is over."""
        if self.state in INACTIVE or not self.ranges_missing:
            return None
        return f"preparing: {self.ranges_prepared} of {self.ranges} ranges"

    @property
    def title(self) -> str:
        """`job key`, with the generation when there was a redo."""
        return f"{self.job} {self.key}" + (f" #{self.generation}" if self.generation > 1 else "")


@dataclass(frozen=True)
class ChunkRecord:
    """A contiguous range of rows and where it is in its life."""

    run_id: str
    number: int
    first_row: int
    rows: int
    state: ChunkState
    attempt: int
    posting: int
    requests: int
    bytes: int
    tokens_estimate: int
    not_before: datetime | None = None
    waiting_for: str | None = None
    faults: int = 0
    unreliable_replies: int = 0
    silent_since: datetime | None = None
    silence_warned_at: datetime | None = None
    at_risk_since: datetime | None = None
    stats: dict[str, Any] | None = None
    not_posted: str | None = None
    prompt: dict[str, Any] | None = None
    lane: str | None = None
    lane_rows: int | None = None
    lane_usd: float | None = None

    @property
    def goes_in_lane(self) -> bool:
        """Whether its next posting is answered by real-time calls."""
        return self.lane not in (None, BATCHES)


@dataclass(frozen=True)
class BatchRecord:
    """One posting of a chunk's still unanswered rows. Token counts are of its answered lines."""

    run_id: str
    chunk: int
    attempt: int
    posting: int
    submission_key: str
    account: str
    model: str
    requests: int
    bytes: int
    tokens_estimate: int
    intended_at: datetime
    file_id: str | None = None
    batch_id: str | None = None
    status: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    total: int | None = None
    completed: int | None = None
    failed: int | None = None
    result_files: tuple[str, ...] = ()
    error_code: str | None = None
    error_message: str | None = None
    error_line: int | None = None
    error_custom_id: str | None = None
    create_sent_at: datetime | None = None
    submitted_at: datetime | None = None
    adopted: bool = False
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    cancel_asked_at: datetime | None = None
    stopped_at: datetime | None = None
    retried_at: datetime | None = None
    polls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    answered_requests: int | None = None
    counted_requests: int | None = None
    output_p95: int | None = None
    cache_write_tokens: int | None = None
    cache_write_usd: float | None = None
    cache_saved_usd: float | None = None
    tidied_at: datetime | None = None
    provider: str | None = None
    reserved_tokens: int | None = None
    reserved_usd: float | None = None
    left_queue_at: datetime | None = None
    lane: Lane | None = None

    @property
    def was_read_whole(self) -> bool:
        """Whether nothing of what it answered is left at its provider alone."""
        return self.error_code != RESULTS_INCOMPLETE

    @property
    def is_attempt(self) -> bool:
        """Whether it counts against `retry.max_attempts`: it was asked, nobody stopped it, and no retry has begun since."""
        asked = self.batch_id is not None and self.error_code != QUEUE_FULL
        return asked and self.stopped_at is None and self.retried_at is None

    @property
    def noun(self) -> str:
        """What a status line calls it: a batch, or real-time calls."""
        return f"{self.lane} real-time calls" if self.lane else "batch"

    @property
    def error_text(self) -> str | None:
        """The error's message for people, with the line and the row at fault where they are known."""
        return describe_error(self.error_message, self.error_line, self.error_custom_id)


@dataclass(frozen=True)
class IndexRecord:
    """The file that is a job's index of earlier answers; `path` is below the runs URL."""

    job: str
    version: int
    path: str


@dataclass(frozen=True)
class Event:
    """Something that happened, and why."""

    at: datetime
    kind: str
    detail: str
    chunk: int | None = None
    attempt: int | None = None


def describe_error(message: str | None, line: int | None, custom_id: str | None = None) -> str | None:
    """`line 3 (custom_id t-2): the message`, as far as line and custom_id are known."""
    if line is None:
        return message
    place = f"line {line}" + (f" (custom_id {custom_id})" if custom_id else "")
    return f"{place}: {message}" if message else place


def situation(
    chunk: ChunkRecord,
    batch: BatchRecord | None,
    now: datetime,
    *,
    service_now: datetime | None = None,
    window_seconds: float | None,
    longest_wait: timedelta,
    giving_up: bool,
    paused: bool = False,
    past_deadline: bool = False,
) -> Situation:
    """What the decision "what next" needs of a chunk and its latest batch; no window: it is never overdue.

    How old a batch is, is told by the provider's clock: until that is known, none is overdue, whatever our clock says.
    A wait longer than any we ask for means that the clock was set back: it is over.
    """
    wait = chunk.not_before
    if wait is not None and wait - now > max(longest_wait, LONGEST_WAIT):
        wait = None
    hurries = past_deadline and chunk.lane is None
    if batch is None:
        return Situation(
            chunk.state,
            chunk.requests,
            wait,
            chunk.posting,
            giving_up=giving_up,
            paused=paused,
            hurries=hurries,
        )
    there = service_now or datetime.min.replace(tzinfo=UTC)
    submitted = batch.submitted_at or there
    due = max(batch.expires_at or submitted, submitted + timedelta(seconds=window_seconds or 0))
    asked = batch.cancel_asked_at
    return Situation(
        chunk.state,
        chunk.requests,
        wait,
        chunk.posting,
        error_code=batch.error_code if chunk.state is ChunkState.ENDED else None,
        giving_up=giving_up,
        paused=paused,
        hurries=hurries and batch.lane is None,
        leaves_batch=chunk.goes_in_lane and batch.lane is None,
        has_results=bool(batch.result_files),
        overdue=window_seconds is not None and there > due + OVERDUE_AFTER,
        cancel_asked=asked is not None,
        cancel_ignored=asked is not None and there > asked + CANCEL_TAKES,
    )
