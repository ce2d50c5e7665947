"""OpenAI's Files and Batches protocol through the `openai` SDK: OpenAI itself, the embedded service, compatibles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import openai
from openai import OpenAI

from configs.errors import LostReply, NotFound, TransientError
from tasks.providers.base import BatchStatus, ServiceBatch, ServiceFile, ServiceLimits, Submission
from tasks.providers.calls import Calls

# https://platform.openai.com/docs/guides/batch: 50,000 requests and 200 MB. The service enforces 209,715,200
# bytes; 200,000,000 is safe under both readings.
OPENAI_LIMITS = ServiceLimits(max_requests=50_000, max_bytes=200_000_000)

KEY = "nightmail_key"  # the metadata entry that carries the submission key
# How long uploads and results may stay at the service, should nobody be left to delete them: 14 days, within the
# 3,600 to 2,592,000 s that https://platform.openai.com/docs/api-reference/files/create allows.
KEEP_SECONDS = 1_209_600
_CLOCK_SKEW = timedelta(minutes=10)
_BLOCK = 1 << 20

_STATUS = {
    "validating": BatchStatus.QUEUED,
    "queued": BatchStatus.QUEUED,
    "in_progress": BatchStatus.RUNNING,
    "finalizing": BatchStatus.FINISHING,
    "cancelling": BatchStatus.CANCELLING,
    "canceling": BatchStatus.CANCELLING,
    "completed": BatchStatus.COMPLETED,
    "failed": BatchStatus.FAILED,
    "expired": BatchStatus.EXPIRED,
    "cancelled": BatchStatus.CANCELLED,
    "canceled": BatchStatus.CANCELLED,
}


Hooks = dict[str, list[Callable[..., Any]]]  # of the HTTP client


def _always() -> None:
    """Nothing forbids a request."""


class OpenAICompatible:
    """A `BatchService` over one OpenAI client. `connect` is called at first use, never at import.

    `keep_seconds`: ask the service to delete files that old; None where it may not know how.
    """

    def __init__(
        self,
        account: str,
        limits: ServiceLimits,
        connect: Callable[[Hooks], OpenAI],
        key_hint: str,
        keep_seconds: int | None = None,
    ) -> None:
        self.account = account
        self.limits = limits
        self.guard: Callable[[], None] = _always
        self._connect = connect
        self._calls = Calls(openai, key_hint)
        self._keep: Any = openai.omit
        if keep_seconds is not None:
            self._keep = {"anchor": "created_at", "seconds": keep_seconds}

    @functools.cached_property
    def _client(self) -> OpenAI:
        return self._connect({"request": [lambda _: self.guard()]})

    @functools.cached_property
    def _once(self) -> OpenAI:
        """For calls that create: the SDK would repeat them after a lost reply, and each repeat is a paid batch."""
        return self._client.with_options(max_retries=0)

    def upload(self, file_name: str, file: BinaryIO) -> str:
        with self._calls.creating(f"upload of {file_name}"):
            # An open handle streams; a path or bytes would be read into memory whole.
            made = self._once.files.create(
                file=(file_name, file, "application/jsonl"), purpose="batch", expires_after=self._keep
            )
        return _id_of(made, f"upload of {file_name}")

    def find_upload(self, file_name: str, since: datetime) -> str | None:
        return next((file.id for file in self.list_files(since) if file.name == file_name), None)

    def list_files(self, since: datetime | None = None) -> Iterator[ServiceFile]:
        earliest = (since - _CLOCK_SKEW).timestamp() if since else 0
        with self._calls.reading("list of files"):
            try:
                for file in self._client.files.list(order="desc"):
                    if (file.created_at or earliest) < earliest:
                        return
                    yield ServiceFile(file.id, file.filename or "", _moment(file.created_at))
            except openai.APIStatusError as error:
                if error.status_code not in (404, 405, 501):
                    raise  # else: the service cannot list files, and a second copy costs nothing

    def create(self, submission: Submission, file_id: str) -> ServiceBatch:
        with self._calls.creating(f"batch {submission.key}"):
            batch = self._once.batches.create(
                input_file_id=file_id,
                endpoint=submission.endpoint,  # type: ignore[arg-type]  # any string is sent
                completion_window=submission.completion_window,  # type: ignore[arg-type]  # Alibaba takes others
                metadata={**submission.metadata, KEY: submission.key},
                output_expires_after=self._keep,
            )
        _id_of(batch, f"batch {submission.key}")
        return _batch(batch)

    def find(self, submission: Submission, since: datetime) -> ServiceBatch | None:
        listed = self.list_batches(since)
        return next((batch for key, batch in listed if key == submission.key), None)

    def list_batches(self, since: datetime) -> Iterator[tuple[str, ServiceBatch]]:
        earliest = (since - _CLOCK_SKEW).timestamp()
        with self._calls.reading("list of batches"):
            for batch in self._client.batches.list(limit=100):
                if (batch.created_at or earliest) < earliest:
                    return
                key = (batch.metadata or {}).get(KEY)
                if key:
                    yield key, _batch(batch)

    def retrieve(self, batch_id: str) -> ServiceBatch:
        with self._calls.reading(f"batch {batch_id}"):
            return _batch(self._client.batches.retrieve(batch_id))

    def cancel(self, batch_id: str) -> None:
        with self._calls.reading(f"cancel of {batch_id}"):
            try:
                self._once.batches.cancel(batch_id)
            except openai.ConflictError:
                return  # it has ended already

    def download(self, file_id: str, sink: BinaryIO) -> int:
        written = 0
        with (
            self._calls.reading(f"file {file_id}"),
            self._client.files.with_streaming_response.content(file_id) as response,
        ):
            for block in response.iter_bytes(_BLOCK):
                sink.write(block)
                written += len(block)
            announced = response.headers.get("content-length")
            if announced and not response.headers.get("content-encoding") and int(announced) != written:
                raise TransientError(
                    f"file {file_id}: {written} of {announced} bytes arrived; it is fetched again"
                )
        return written

    def delete_file(self, file_id: str) -> None:
        try:
            with self._calls.reading(f"file {file_id}"):
                self._client.files.delete(file_id)
        except NotFound:
            return


def _id_of(made: Any, what: str) -> str:
    """The new object's id; a 2xx reply without one (a proxy's page) says nothing about what was created."""
    found = getattr(made, "id", None)
    if not isinstance(found, str) or not found:
        raise LostReply(f"{what}: the reply names no id")
    return found


def _batch(raw: Any) -> ServiceBatch:
    counts = raw.request_counts
    first = next(iter((raw.errors.data if raw.errors else None) or []), None)
    status = _STATUS.get(str(raw.status).lower(), BatchStatus.RUNNING)
    return ServiceBatch(
        id=raw.id,
        status=status,
        total=getattr(counts, "total", None),
        completed=getattr(counts, "completed", None),
        failed=getattr(counts, "failed", None),
        result_files=tuple(file for file in (raw.output_file_id, raw.error_file_id) if file),
        error_code=_error_code(first) if status is BatchStatus.FAILED else None,
        error_message=getattr(first, "message", None),
        error_line=getattr(first, "line", None),
        expires_at=_moment(raw.expires_at),
    )


def _moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) else None


def _error_code(error: Any) -> str:
    """The batch-level code; "cannot find file" gets a name of its own, since the same file may work later."""
    code = getattr(error, "code", None) or "batch_failed"
    lost_file = code == "invalid_request" and (
        error.param == "file_id" or "find file" in (error.message or "")
    )
    return "file_not_found" if lost_file else str(code)
