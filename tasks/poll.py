"""Ask the provider once how a batch is, or many are, and write it down."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from configs.errors import ConfigError, TerminalError, TransientError
from tasks.ledger.records import BatchRecord, ChunkRecord, describe_error
from tasks.ledger.transitions import QUEUE_FULL, ChunkState, poll_delay
from tasks.orchestration.step import step
from tasks.providers.base import BatchStatus, ServiceBatch
from tasks.runs.hand_over import hand_over
from tasks.runs.holding_back import stated_limit
from tasks.runs.session import Run
from tasks.runs.step_lines import chunk_line, looked_line
from tasks.runs.submission import known_batch

# Some services say completed a little before they name the result files.
_FILES_MAY_FOLLOW = timedelta(minutes=10)
# Before a batch that would be lost whole expires: a night in which somebody may look.
_LOSS_IS_NEAR = timedelta(hours=12)
_LISTED_FROM = 10  # batches: the list's page is as long as a hundred replies about one
_CANCELS_WITHIN = 60.0  # seconds between two looks at a batch whose rows are waited for


@step("poll", "poll chunk {chunk.number}", chunk_line)
def poll(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Retrieve the chunk's batch: ended, or when to look again."""
    batch = run.ledger.batch(chunk)
    seen = known_batch(run, chunk, batch.batch_id or "")
    now = run.clock.now()
    values = _values(batch, seen, now)
    if seen.status.ended and not _files_may_follow(seen, values["history"], now):
        if seen.error_code == QUEUE_FULL:
            run.ledger.learn_quota(batch, stated_limit(seen.error_message or ""))
        values |= {
            "ended_at": now - _ended_ago(run, batch, seen),
            "error_code": seen.error_code,
            "error_message": seen.error_message,
            "error_line": _line_of(batch, seen),
        }
        return run.ledger.move(chunk, ChunkState.ENDED, _end(seen), batch_values=values)
    chunk = hand_over(run, chunk, batch, seen)
    reason, at_risk_since = _waits_for(run, chunk, batch, seen)
    until = run.after(_until_next_look(run, chunk, batch))
    return run.ledger.postpone(chunk, until, reason, batch_values=values, at_risk_since=at_risk_since)


class OpenBatches:
    """Open batches that are looked at together, with their chunks.

    Not a dataclass: Prefect searches a task's parameters for futures, and would walk through all of them.
    """

    def __init__(self, pairs: Sequence[tuple[ChunkRecord, BatchRecord]]) -> None:
        self.pairs = pairs
        self.count = len(pairs)


def worth_listing(
    run: Run, chunks: Sequence[ChunkRecord], due: Collection[int], posted: Mapping[int, BatchRecord]
) -> OpenBatches | None:
    """The batches to look at in the provider's list: those of the chunks `due`, and those soon due, so that they are looked
    at together from then on. None where there are too few, or none is due.

    One that is in trouble, was asked to end or has ended as a webhook says is asked for by itself: a list may lag behind.
    """
    if not due or run.past_deadline or run.giving_up:
        return None
    now = run.clock.now()
    pairs = [
        (chunk, batch)
        for chunk in chunks
        if chunk.state is ChunkState.SUBMITTED
        and (batch := posted.get(chunk.number)) is not None
        and (chunk.number in due or _is_soon_due(run, chunk, batch, now))
        and _is_untroubled(chunk, batch)
    ]
    return OpenBatches(pairs) if len(pairs) >= _LISTED_FROM else None


@step("poll", "poll {batches.count} batches", looked_line)
def poll_together(run: Run, batches: OpenBatches) -> dict[int, tuple[ChunkRecord, BatchRecord]]:
    """Look at many open batches in the provider's list; by number, the chunks about which it says something.

    Those whose batch is still open wait on. What a list says of an end, and whatever else is not plain, is not relied upon:
    such a chunk is due now, for a look at its batch alone.
    """
    shown = _shown(run, {batch.batch_id for _, batch in batches.pairs if batch.batch_id})
    now = run.clock.now()
    looked_at: dict[int, tuple[ChunkRecord, BatchRecord]] = {}
    looks: dict[timedelta, datetime] = {}
    unchanged: dict[datetime, list[ChunkRecord]] = {}
    changed: list[tuple[ChunkRecord, dict[str, Any], dict[str, Any]]] = []
    for chunk, batch in batches.pairs:
        seen = shown.get(batch.batch_id or "")
        if seen is None:
            continue
        reason, at_risk_since = _waits_for(run, chunk, batch, seen)
        begins_to_be_at_risk = at_risk_since is not None and chunk.at_risk_since is None
        if seen.status.ended or seen.key not in (None, batch.submission_key) or begins_to_be_at_risk:
            looked_at[chunk.number] = replace(chunk, not_before=now), batch
            continue
        wait = _until_next_look(run, chunk, batch)
        until = looks.setdefault(wait, run.after(wait))  # one time for all that have waited as long
        values = _values(batch, seen, now)
        waiting: dict[str, Any] = {"not_before": until, "waiting_for": reason, "at_risk_since": at_risk_since}
        after = replace(batch, **{**values, "history": batch.history, "result_files": seen.result_files})
        if replace(chunk, **waiting) == replace(chunk, not_before=until) and _says_nothing_new(batch, after):
            unchanged.setdefault(until, []).append(chunk)
        else:
            changed.append((chunk, waiting, values))
        looked_at[chunk.number] = replace(chunk, **waiting), after
    if looked_at:
        run.ledger.postpone_looked_at(unchanged, changed)
    return looked_at


def _shown(run: Run, wanted: set[str]) -> dict[str, ServiceBatch]:
    """What the provider's list says of those batches, as long as its pages show more than they are; nothing where it cannot
    be read: each batch is asked for then, and tells what is wrong."""
    found: dict[str, ServiceBatch] = {}
    with suppress(TransientError, TerminalError, ConfigError):
        for pages, page in enumerate(run.service.batch_pages(len(wanted)), start=1):
            for batch in page:
                if batch.id in wanted:
                    found.setdefault(batch.id, batch)
            if len(found) == len(wanted) or len(found) <= pages:
                break
    return found


def _is_untroubled(chunk: ChunkRecord, batch: BatchRecord) -> bool:
    waits = chunk.not_before is not None  # until somebody ends it: `Ledger.look_now`
    return waits and batch.lane is None and batch.cancel_asked_at is None and not chunk.faults


def _is_soon_due(run: Run, chunk: ChunkRecord, batch: BatchRecord, now: datetime) -> bool:
    """Whether half of the wait for the next look has passed."""
    pace = run.pace_of(batch)
    wait = poll_delay(batch.polls, pace.first_seconds, pace.max_seconds)
    return chunk.not_before is not None and chunk.not_before - now <= wait / 2


def _says_nothing_new(before: BatchRecord, after: BatchRecord) -> bool:
    return replace(before, polls=after.polls) == after


def _waits_for(
    run: Run, chunk: ChunkRecord, batch: BatchRecord, seen: ServiceBatch
) -> tuple[str, datetime | None]:
    """What the chunk of an open batch waits for, and since when it is at risk to lose all of it."""
    reason = _state(batch, seen)
    service, now = run.service_of(batch), run.clock.now()
    there = service.clock.now() or now
    if not (service.limits.all_or_nothing and seen.expires_at and there > seen.expires_at - _LOSS_IS_NEAR):
        return reason, None
    return (
        f"at risk: {reason}; if it is not done by {seen.expires_at:%Y-%m-%d %H:%M} UTC the provider drops it"
        " with all it has answered, and its rows are posted again; smaller batches"
        " (limits.max_requests, in another run) lose less"
    ), chunk.at_risk_since or now


def _until_next_look(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> timedelta:
    pace = run.pace_of(batch)
    wait = poll_delay(batch.polls + 1, pace.first_seconds, pace.max_seconds)
    if chunk.goes_in_lane and batch.cancel_asked_at is not None:  # a cancelled one ends within minutes
        wait = min(wait, timedelta(seconds=max(pace.first_seconds, _CANCELS_WITHIN)))
    return wait


def _ended_ago(run: Run, batch: BatchRecord, seen: ServiceBatch) -> timedelta:
    """How long ago the batch ended by its service's own clock; nothing where it does not say."""
    there = run.service_of(batch).clock.now()
    if there is None or seen.ended_at is None:
        return timedelta(0)
    return max(timedelta(0), there - seen.ended_at)


def _values(batch: BatchRecord, seen: ServiceBatch, now: datetime) -> dict[str, Any]:
    history = [list(entry) for entry in batch.history]
    if not history or history[-1][0] != seen.status:
        history.append([seen.status, now.isoformat()])
    return {
        "status": seen.status,
        "history": history,
        "polls": batch.polls + 1,
        "total": seen.total,
        "completed": seen.completed,
        "failed": seen.failed,
        "result_files": list(seen.result_files),
        "expires_at": seen.expires_at,
    }


def _files_may_follow(seen: ServiceBatch, history: list[list[str]], now: datetime) -> bool:
    if seen.status is not BatchStatus.COMPLETED or seen.result_files:
        return False
    since = now - datetime.fromisoformat(history[-1][1])
    return timedelta(0) <= since < _FILES_MAY_FOLLOW  # a clock that was set back must not make it wait


def _line_of(batch: BatchRecord, seen: ServiceBatch) -> int | None:
    """The line at fault; a number beyond the posted file is none of its lines."""
    line = seen.error_line
    return line if line is not None and 0 <= line <= batch.requests else None


def _state(batch: BatchRecord, seen: ServiceBatch) -> str:
    counted = f", {seen.completed:,} of {seen.total:,}" if seen.completed is not None and seen.total else ""
    return f"{batch.noun} {seen.id}: {seen.status}{counted}"


def _end(seen: ServiceBatch) -> str:
    error = describe_error(seen.error_message, seen.error_line) or seen.error_code
    reason = f": {error}" if seen.error_code else ""
    return f"{seen.id} {seen.status}{reason}"
