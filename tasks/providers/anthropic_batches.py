"""Message Batches through the `anthropic` SDK.

Requests go with the batch, and a batch keeps nothing of ours: no upload, no key to find it by. What a lost reply has
made is told by when it was made, how many requests it has and, once it has ended, by the ids in its results.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, cast

import anthropic
import orjson
from anthropic import Anthropic
from anthropic.types.messages import MessageBatch

from configs.errors import LostReply, NotFound, TerminalError, TransientError
from tasks.providers.anthropic_service import HEAD, TAIL
from tasks.providers.base import BatchStatus, ServiceBatch, ServiceFile, ServiceLimits, Submission
from tasks.providers.calls import Calls

_LEEWAY = timedelta(minutes=1)  # around a moment by the service's clock
_BLOCK = 1 << 20
_SAMPLE = 1 << 16  # bytes of results that tell whose they are
_PATH = "/v1/messages/batches"
_AT_FAULT = re.compile(r"\brequests\.(\d+)\b")


def _always() -> None:
    """Nothing forbids a request."""


class AnthropicBatches:
    """A `BatchService` over one Anthropic client. `connect` is called at first use, never at import.

    A batch's results go by its own id: they are its one result file.
    """

    def __init__(
        self,
        account: str,
        limits: ServiceLimits,
        connect: Callable[[dict[str, list[Callable[..., Any]]]], Anthropic],
        key_hint: str,
    ) -> None:
        self.account = account
        self.limits = limits
        self.guard: Callable[[], None] = _always
        self._connect = connect
        self._calls = Calls(anthropic, key_hint)

    @functools.cached_property
    def _client(self) -> Anthropic:
        return self._connect({"request": [lambda _: self.guard()]})

    @functools.cached_property
    def _once(self) -> Anthropic:
        """For calls that create: the SDK would repeat them after a lost reply, and each repeat is a paid batch."""
        return self._client.with_options(max_retries=0)

    def upload(self, file_name: str, file: BinaryIO) -> str:  # noqa: ARG002 - the protocol's
        return ""

    def find_upload(self, file_name: str, since: datetime) -> str | None:  # noqa: ARG002 - the protocol's
        return None

    def list_files(self, since: datetime | None = None) -> Iterator[ServiceFile]:  # noqa: ARG002 - the protocol's
        return iter(())

    def create(self, submission: Submission, file_id: str) -> ServiceBatch:  # noqa: ARG002 - the protocol's
        what = f"batch {submission.key}"
        try:
            with submission.lines() as lines, self._calls.creating(what):
                # batches.create() would hold all requests as objects and again as text: this holds a block of them.
                size = lines.seek(0, io.SEEK_END) - 1 + len(HEAD) + len(TAIL)
                headers = {"content-type": "application/json", "content-length": str(size)}
                made = self._once.post(
                    _PATH, cast_to=MessageBatch, content=_as_array(lines), options={"headers": headers}
                )
        except TerminalError as error:
            raise _naming_the_row(error, submission) from error
        if not _has_id(made):
            raise LostReply(f"{what}: the reply names no id")
        return _batch(made)

    def find(self, submission: Submission, since: datetime) -> ServiceBatch | None:
        """One that has ended is ours when its results say so. One that is under way is taken for ours when it is alone and
        nobody else may be looking for it; else the run waits until it has ended."""
        mine = _ids_of(submission)
        candidates = [
            (batch, ours)
            for batch in self._made_since(since)
            if batch.id not in submission.taken
            and _total(batch) in (None, submission.requests)
            and (ours := self._is_ours(batch, mine)) is not False
        ]
        if not candidates:
            return None
        found, proved = candidates[0]
        if len(candidates) == 1 and (proved or not submission.rivals):
            return _batch(found)
        names = ", ".join(batch.id for batch, _ in candidates[:5])
        if all(ours for _, ours in candidates):
            raise TerminalError(
                f"batch {submission.key}: {len(candidates)} batches answer these very rows ({names});"
                " delete the foreign ones in Anthropic's console, then run the same command again"
            )
        raise TransientError(
            f"batch {submission.key}: {names} may be it; its results will tell, nothing is posted until then"
        )

    def list_batches(self, since: datetime) -> Iterator[tuple[str, ServiceBatch]]:  # noqa: ARG002 - the protocol's
        with self._calls.reading("list of batches"):
            self._client.messages.batches.list(limit=1)  # a wrong key is an error here as everywhere
        yield from ()

    def retrieve(self, batch_id: str) -> ServiceBatch:
        return _batch(self._retrieve(batch_id))

    def cancel(self, batch_id: str) -> None:
        with self._calls.reading(f"cancel of {batch_id}"):
            try:
                self._once.messages.batches.cancel(batch_id)
            except (anthropic.BadRequestError, anthropic.ConflictError):
                if not self.retrieve(batch_id).status.ended:
                    raise

    def download(self, file_id: str, sink: BinaryIO) -> int:
        batch = self._retrieve(file_id)
        if batch.results_url is None:
            raise _no_results(batch)
        written = 0
        with self._calls.reading(f"results of {file_id}"), closing(self._results(file_id)) as response:
            for block in response.iter_bytes(_BLOCK):
                sink.write(block)
                written += len(block)
            announced = response.headers.get("content-length")
            if announced and not response.headers.get("content-encoding") and int(announced) != written:
                raise TransientError(
                    f"results of {file_id}: {written} of {announced} bytes arrived; they are fetched again"
                )
        return written

    def delete_file(self, file_id: str) -> None:
        try:
            with self._calls.reading(f"batch {file_id}"):
                self._client.messages.batches.delete(file_id)
        except NotFound:
            return
        except TerminalError as error:
            if error.__cause__ is None or getattr(error.__cause__, "status_code", 0) != 405:
                raise  # else: a gateway that cannot delete

    def _retrieve(self, batch_id: str) -> MessageBatch:
        with self._calls.reading(f"batch {batch_id}"):
            batch = self._client.messages.batches.retrieve(batch_id)
        if not _has_id(batch):
            raise TransientError(f"batch {batch_id}: the reply is no batch")
        return batch

    def _made_since(self, since: datetime) -> Iterator[MessageBatch]:
        with self._calls.reading("list of batches"):
            reply = self._client.messages.batches.with_raw_response.list(limit=100)
            earliest = since + _clock_difference(reply.headers.get("date")) - _LEEWAY
            for batch in reply.parse():
                if (_moment(batch.created_at) or earliest) < earliest:
                    return
                yield batch

    def _is_ours(self, batch: MessageBatch, mine: frozenset[str]) -> bool | None:
        """Whether its results are for our ids; None while it has none to show."""
        if batch.processing_status != "ended" or batch.results_url is None:
            return None
        sample = b""
        with self._calls.reading(f"results of {batch.id}"), closing(self._results(batch.id)) as response:
            for block in response.iter_bytes(_SAMPLE):
                sample += block
                if len(sample) >= _SAMPLE and b"\n" in sample:
                    sample = sample[: sample.rindex(b"\n")]
                    break
        ids = [_line_id(line) for line in sample.split(b"\n") if line.strip()]
        return bool(ids) and all(each in mine for each in ids)

    def _results(self, batch_id: str) -> anthropic.APIResponse[Any]:
        # Always at the base URL: the key must not follow a results_url to another host.
        headers = {"accept": "application/binary", "x-stainless-raw-response": "stream"}
        made = self._client.get(f"{_PATH}/{batch_id}/results", cast_to=object, options={"headers": headers})
        return cast("anthropic.APIResponse[Any]", made)


def _as_array(lines: BinaryIO) -> Iterator[bytes]:
    """A file of JSON lines as `{"requests": [...]}`, block by block. A line holds no newline but the one at its end."""
    lines.seek(0)
    block, following = HEAD, lines.read(_BLOCK)
    while following:
        yield block
        block, following = following.replace(b"\n", b","), lines.read(_BLOCK)
    yield block.removesuffix(b",")
    yield TAIL


def _clock_difference(date: str | None) -> timedelta:
    """By how much the service's clock is ahead of ours, from the Date of a reply that has just come."""
    try:
        return parsedate_to_datetime(date or "").astimezone(UTC) - datetime.now(UTC)
    except ValueError:
        return -10 * _LEEWAY


def _has_id(made: Any) -> bool:
    found = getattr(made, "id", None)
    return isinstance(found, str) and bool(found)


def _ids_of(submission: Submission) -> frozenset[str]:
    with submission.lines() as lines:
        return frozenset(_line_id(line) or "" for line in lines)


def _line_id(line: bytes) -> str | None:
    try:
        found = orjson.loads(line)["custom_id"]
    except (ValueError, TypeError, LookupError):
        return None
    return found if isinstance(found, str) else None


def _naming_the_row(error: TerminalError, submission: Submission) -> TerminalError:
    """The refusal with the custom_id of the request it names, since nobody sees the posted array."""
    at = _AT_FAULT.search(str(error))
    if at is None:
        return error
    with submission.lines() as lines:
        line = next((line for number, line in enumerate(lines) if number == int(at[1])), b"")
    return TerminalError(f"{error} (custom_id {_line_id(line)})", code=error.code)


def _no_results(batch: MessageBatch) -> TransientError | TerminalError:
    if batch.processing_status != "ended":
        return TransientError(f"batch {batch.id}: has no results yet")
    when = batch.archived_at or batch.ended_at
    return TerminalError(
        f"batch {batch.id}: its results are gone since {when}, Anthropic keeps them for 29 days;"
        " start the job again under another --key",
        code="archived",
    )


def _batch(raw: MessageBatch) -> ServiceBatch:
    counts = raw.request_counts
    ended = raw.processing_status == "ended"
    return ServiceBatch(
        id=raw.id,
        status=_status(raw),
        total=_total(raw),
        completed=getattr(counts, "succeeded", None),
        failed=getattr(counts, "errored", None),
        result_files=(raw.id,) if ended else (),
        expires_at=_moment(raw.expires_at),
    )


def _status(raw: MessageBatch) -> BatchStatus:
    if raw.processing_status == "canceling":
        return BatchStatus.CANCELLING
    if raw.processing_status != "ended":
        return BatchStatus.RUNNING
    if getattr(raw.request_counts, "expired", 0):
        return BatchStatus.EXPIRED
    if getattr(raw.request_counts, "canceled", 0):
        return BatchStatus.CANCELLED
    return BatchStatus.COMPLETED


def _total(raw: MessageBatch) -> int | None:
    """Requests of a batch: every one of them is in one of the counts, all the time."""
    counts = raw.request_counts
    if counts is None:
        return None
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return sum(getattr(counts, name, None) or 0 for name in names)


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
