"""Read Message Batches' objects and result lines, and write the body of a new batch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, BinaryIO

import orjson
from anthropic.types.messages import MessageBatch

from configs.errors import TerminalError, TransientError
from configs.providers.anthropic import BODY_HEAD, BODY_TAIL
from tasks.providers.base import BatchStatus, ServiceBatch, Submission
from tasks.providers.times import time_of
from tasks.stages.wire.json_values import integer

BLOCK = 1 << 20
LEEWAY = timedelta(minutes=1)  # around a time by the service's clock
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
_AT_FAULT = re.compile(r"\brequests\.(\d+)\b")


def as_array(lines: BinaryIO) -> Iterator[bytes]:
    """A file of JSON lines as `{"requests": [...]}`, block by block. A line holds no newline but the one at its end."""
    lines.seek(0)
    block, following = BODY_HEAD, lines.read(BLOCK)
    while following:
        yield block
        block, following = following.replace(b"\n", b","), lines.read(BLOCK)
    yield block.removesuffix(b",")
    yield BODY_TAIL


def has_id(reply: Any) -> bool:
    """Whether a reply is an object of Anthropic's: the SDK also builds one from a proxy's page."""
    batch_id = getattr(reply, "id", None)
    return isinstance(batch_id, str) and bool(batch_id)


def ids_of(submission: Submission) -> frozenset[str]:
    """The custom_ids of the posted lines."""
    with submission.lines() as lines:
        return frozenset(line_id(line) or "" for line in lines)


def line_id(line: bytes) -> str | None:
    """The custom_id of a request or result line; None when it has none."""
    try:
        custom_id = orjson.loads(line)["custom_id"]
    except (ValueError, TypeError, LookupError):
        return None
    return custom_id if isinstance(custom_id, str) else None


def naming_the_row(error: TerminalError, submission: Submission) -> TerminalError:
    """The refusal with the custom_id of the request it names, since nobody sees the posted array."""
    named = _AT_FAULT.search(str(error))
    if named is None:
        return error
    with submission.lines() as lines:
        line = next((line for number, line in enumerate(lines) if number == int(named[1])), b"")
    return TerminalError(f"{error} (custom_id {line_id(line)})", code=error.code)


def no_results(batch: MessageBatch) -> TransientError | TerminalError:
    """Why a batch has no results_url: not yet, or not any more."""
    if batch.processing_status != "ended":
        return TransientError(f"batch {batch.id}: has no results yet")
    archived = batch.archived_at or batch.ended_at
    return TerminalError(
        f"batch {batch.id}: its results are gone since {archived}, Anthropic keeps them for 29 days;"
        " start the job again under another --key",
        code="archived",
    )


def service_batch(raw: MessageBatch) -> ServiceBatch:
    """Anthropic's batch object as Nightmail's."""
    counts = raw.request_counts
    ended = raw.processing_status == "ended"
    return ServiceBatch(
        id=raw.id,
        status=status_of(raw),
        total=total_of(raw),
        completed=_count(counts, "succeeded"),
        failed=_count(counts, "errored"),
        result_files=(raw.id,) if ended else (),
        expires_at=time_of(raw.expires_at),
        ended_at=time_of(raw.ended_at),
    )


def status_of(raw: MessageBatch) -> BatchStatus:
    """The batch's status. Anthropic says only that it has ended; how is told by the counts of its rows."""
    if raw.processing_status == "canceling":
        return BatchStatus.CANCELLING
    if raw.processing_status != "ended":
        return BatchStatus.RUNNING
    if _count(raw.request_counts, "expired"):
        return BatchStatus.EXPIRED
    if _count(raw.request_counts, "canceled"):
        return BatchStatus.CANCELLED
    return BatchStatus.COMPLETED


def total_of(raw: MessageBatch) -> int | None:
    """Requests of a batch, None where a count cannot be read. All are counted as processing until the whole batch has
    ended, so the counts add up all the time."""
    counts = raw.request_counts
    given = [name for name in _COUNTS if getattr(counts, name, None) is not None]
    read = [count for name in given if (count := _count(counts, name)) is not None]
    return sum(read) if given and len(read) == len(given) else None


def _count(counts: Any, name: str) -> int | None:
    """One of the counts: the SDK leaves what it cannot parse as it came."""
    return integer(getattr(counts, name, None))
