"""Message Batches' own objects and lines, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO

import orjson
from anthropic.types.messages import MessageBatch

from configs.errors import TerminalError, TransientError
from tasks.providers.anthropic.body import HEAD, TAIL
from tasks.providers.base import BatchStatus, ServiceBatch, Submission

BLOCK = 1 << 20
LEEWAY = timedelta(minutes=1)  # around a moment by the service's clock
_AT_FAULT = re.compile(r"\brequests\.(\d+)\b")


def as_array(lines: BinaryIO) -> Iterator[bytes]:
    """A file of JSON lines as `{"requests": [...]}`, block by block. A line holds no newline but the one at its end."""
    lines.seek(0)
    block, following = HEAD, lines.read(BLOCK)
    while following:
        yield block
        block, following = following.replace(b"\n", b","), lines.read(BLOCK)
    yield block.removesuffix(b",")
    yield TAIL


def clock_difference(date: str | None) -> timedelta:
    """By how much the service's clock is ahead of ours, from the Date of a reply that has just come."""
    try:
        return parsedate_to_datetime(date or "").astimezone(UTC) - datetime.now(UTC)
    except ValueError:
        return -10 * LEEWAY


def has_id(made: Any) -> bool:
    found = getattr(made, "id", None)
    return isinstance(found, str) and bool(found)


def ids_of(submission: Submission) -> frozenset[str]:
    with submission.lines() as lines:
        return frozenset(line_id(line) or "" for line in lines)


def line_id(line: bytes) -> str | None:
    try:
        found = orjson.loads(line)["custom_id"]
    except (ValueError, TypeError, LookupError):
        return None
    return found if isinstance(found, str) else None


def naming_the_row(error: TerminalError, submission: Submission) -> TerminalError:
    """The refusal with the custom_id of the request it names, since nobody sees the posted array."""
    at = _AT_FAULT.search(str(error))
    if at is None:
        return error
    with submission.lines() as lines:
        line = next((line for number, line in enumerate(lines) if number == int(at[1])), b"")
    return TerminalError(f"{error} (custom_id {line_id(line)})", code=error.code)


def no_results(batch: MessageBatch) -> TransientError | TerminalError:
    if batch.processing_status != "ended":
        return TransientError(f"batch {batch.id}: has no results yet")
    when = batch.archived_at or batch.ended_at
    return TerminalError(
        f"batch {batch.id}: its results are gone since {when}, Anthropic keeps them for 29 days;"
        " start the job again under another --key",
        code="archived",
    )


def service_batch(raw: MessageBatch) -> ServiceBatch:
    counts = raw.request_counts
    ended = raw.processing_status == "ended"
    return ServiceBatch(
        id=raw.id,
        status=status_of(raw),
        total=total_of(raw),
        completed=getattr(counts, "succeeded", None),
        failed=getattr(counts, "errored", None),
        result_files=(raw.id,) if ended else (),
        expires_at=moment(raw.expires_at),
    )


def status_of(raw: MessageBatch) -> BatchStatus:
    if raw.processing_status == "canceling":
        return BatchStatus.CANCELLING
    if raw.processing_status != "ended":
        return BatchStatus.RUNNING
    if getattr(raw.request_counts, "expired", 0):
        return BatchStatus.EXPIRED
    if getattr(raw.request_counts, "canceled", 0):
        return BatchStatus.CANCELLED
    return BatchStatus.COMPLETED


def total_of(raw: MessageBatch) -> int | None:
    """Requests of a batch: every one of them is in one of the counts, all the time."""
    counts = raw.request_counts
    if counts is None:
        return None
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return sum(getattr(counts, name, None) or 0 for name in names)


def moment(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
