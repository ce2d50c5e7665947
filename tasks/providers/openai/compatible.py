"""OpenAI's Files and Batches protocol through the `openai` SDK: OpenAI itself, the embedded service, compatibles."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import openai
from openai import OpenAI

from configs.errors import ConfigError, LostReply, NotFound, QueueFull, TerminalError, TransientError
from tasks.providers.base import ServiceBatch, ServiceFile, ServiceLimits, Submission, nothing_forbids
from tasks.providers.calls import Calls, copy_whole, said
from tasks.providers.openai.replies import Record, batch_of, metadata_of, moment, recent, record_of

# https://platform.openai.com/docs/guides/batch: 50,000 requests and 200 MB. The service enforces 209,715,200
# bytes; 200,000,000 is safe under both readings.
OPENAI_LIMITS = ServiceLimits(max_requests=50_000, max_bytes=200_000_000, enforced_bytes=209_715_200)

KEY = "nightmail_key"  # the metadata entry that carries the submission key
# How long uploads and results may stay at the service, should nobody be left to delete them: 14 days, within the
# 3,600 to 2,592,000 s that https://platform.openai.com/docs/api-reference/files/create allows.
KEEP_SECONDS = 1_209_600
_CLOCK_SKEW = timedelta(minutes=10)
_STORE_FULL = re.compile(
    r"\b(files?|storage)\b.*\b(quota|limit|exceed)|\b(quota|limit|exceed)\w*\b.*\b(files|storage)\b",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(
    r"\b(unfinished|concurrent|running|queued|active|pending|enqueued)\b.*\b(limit|exceed|maximum|too many)"
    r"|\b(limit|exceed|maximum|too many)\w*\b.*\b(batches|tasks|jobs)\b",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"\b(size|large|larger|too big)\b", re.IGNORECASE)

Hooks = dict[str, list[Callable[..., Any]]]  # of the HTTP client


def _with_key(submission: Submission) -> dict[str, str]:
    return {**submission.metadata, KEY: submission.key}


def _key_in(metadata: Mapping[str, str]) -> str | None:
    return metadata.get(KEY)


@dataclass(frozen=True)
class Manners:
    """Where one service departs from the protocol, as data.

    `label` is the metadata of a new batch, `key_in` finds the submission key in it again. `keep_*_seconds` ask the
    service to delete files that old; None where it may not know how. `store` names what a full file store holds.
    """

    label: Callable[[Submission], dict[str, str]] = _with_key
    key_in: Callable[[Mapping[str, str]], str | None] = _key_in
    keep_uploads_seconds: int | None = None
    keep_results_seconds: int | None = None
    store: str = "the service's file store"


class OpenAICompatible:
    """A `BatchService` over one OpenAI client. `connect` is called at first use, never at import."""

    def __init__(
        self,
        account: str,
        limits: ServiceLimits,
        connect: Callable[[Hooks], OpenAI],
        key_hint: str,
        manners: Manners = Manners(),
    ) -> None:
        self.account = account
        self.limits = limits
        self.guard: Callable[[], None] = nothing_forbids
        self._connect = connect
        self._calls = Calls(openai, key_hint)
        self._manners = manners

    @functools.cached_property
    def _client(self) -> OpenAI:
        return self._connect({"request": [lambda _: self.guard()]})

    @functools.cached_property
    def _once(self) -> OpenAI:
        """For calls that create: the SDK would repeat them after a lost reply, and each repeat is a paid batch."""
        return self._client.with_options(max_retries=0)

    def upload(self, file_name: str, file: BinaryIO) -> str:
        what = f"upload of {file_name}"
        try:
            with self._calls.creating(what):
                # An open handle streams; a path or bytes would be read into memory whole.
                made = self._once.files.with_raw_response.create(
                    file=(file_name, file, "application/jsonl"),
                    purpose="batch",
                    expires_after=_expiry(self._manners.keep_uploads_seconds),
                )
        except (TerminalError, ConfigError) as refusal:
            text = said(refusal.__cause__)
            if _STORE_FULL.search(text) is None or _TOO_LARGE.search(text):
                raise
            way_out = "delete files there; `nightmail clean` shows what runs left"
            raise QueueFull(f"{what}: {text}; {self._manners.store} is full: {way_out}") from refusal
        return str(_identified(made.content, what, LostReply)["id"])

    def find_upload(self, file_name: str, since: datetime) -> str | None:
        return next((file.id for file in self.list_files(since) if file.name == file_name), None)

    def list_files(self, since: datetime | None = None) -> Iterator[ServiceFile]:
        list_page = self._client.files.with_raw_response.list
        with self._calls.reading("list of files"):
            try:
                for file in recent(
                    lambda after: list_page(order="desc", after=after or openai.omit).content,
                    _earliest(since),
                    may_lack=True,  # and a second copy costs nothing
                ):
                    yield ServiceFile(
                        str(file.get("id")), str(file.get("filename") or ""), moment(file.get("created_at"))
                    )
            except openai.APIStatusError as error:
                if error.status_code not in (404, 405, 501):
                    raise  # else: the service cannot list files

    def create(self, submission: Submission, file_id: str) -> ServiceBatch:
        what = f"batch {submission.key}"
        try:
            with self._calls.creating(what):
                made = self._once.batches.with_raw_response.create(
                    input_file_id=file_id,
                    endpoint=submission.endpoint,  # type: ignore[arg-type]  # any string is sent
                    completion_window=submission.completion_window,  # type: ignore[arg-type]  # Alibaba takes others
                    metadata=self._manners.label(submission),
                    output_expires_after=_expiry(self._manners.keep_results_seconds),
                )
        except (TerminalError, ConfigError) as refusal:
            text = said(refusal.__cause__)
            if _TOO_MANY.search(text) is None:
                raise
            raise QueueFull(f"{what}: {text}; it is posted when there is room") from refusal
        return batch_of(_identified(made.content, what, LostReply))

    def find(self, submission: Submission, since: datetime) -> ServiceBatch | None:
        for batch in self._listed(since):
            key = self._manners.key_in(metadata_of(batch))
            # Where no metadata is kept, the uploaded file tells: nobody else posts it. An earlier posting of it may have.
            same_file = key is None and batch.get("input_file_id") == submission.file_id != ""
            if key == submission.key or (same_file and batch.get("id") not in submission.taken):
                return batch_of(batch)
        return None

    def list_batches(self, since: datetime) -> Iterator[tuple[str, ServiceBatch]]:
        for batch in self._listed(since):
            key = self._manners.key_in(metadata_of(batch))
            if key:
                yield key, batch_of(batch)

    def _listed(self, since: datetime) -> Iterator[Record]:
        list_page = self._client.batches.with_raw_response.list
        with self._calls.reading("list of batches"):
            yield from recent(
                lambda after: list_page(limit=100, after=after or openai.omit).content, _earliest(since)
            )

    def retrieve(self, batch_id: str) -> ServiceBatch:
        with self._calls.reading(f"batch {batch_id}"):
            found = self._client.batches.with_raw_response.retrieve(batch_id)
        return batch_of(_identified(found.content, f"batch {batch_id}", TransientError))

    def cancel(self, batch_id: str) -> None:
        try:
            with self._calls.reading(f"cancel of {batch_id}"):
                self._once.batches.with_raw_response.cancel(batch_id)
        except (TerminalError, TransientError) as refusal:
            # A batch that has ended cannot be cancelled: OpenAI answers 409 then, others 400 or 422.
            status = getattr(refusal.__cause__, "status_code", None)
            if status == 409 or (status in (400, 422) and self.retrieve(batch_id).status.ended):
                return
            raise

    def download(self, file_id: str, sink: BinaryIO) -> int:
        what = f"file {file_id}"
        with (
            self._calls.reading(what),
            self._client.files.with_streaming_response.content(file_id) as response,
        ):
            return copy_whole(response, sink, what)

    def download_video(self, video_id: str, sink: BinaryIO) -> int:
        what = f"video {video_id}"
        # The SDK marks it deprecated: OpenAI announced the end of its own video models for 2026-09-24.
        with (
            self._calls.reading(what),
            self._client.videos.with_streaming_response.download_content(video_id) as response,
        ):
            return copy_whole(response, sink, what)

    def delete_file(self, file_id: str) -> None:
        try:
            with self._calls.reading(f"file {file_id}"):
                self._client.files.delete(file_id)
        except NotFound:
            return


def _identified(content: bytes, what: str, otherwise: type[TransientError]) -> Record:
    """The object in a 2xx reply; one without an id (a proxy's page) says nothing, also not about what was created."""
    found = record_of(content)
    if not isinstance(found.get("id"), str | int) or not found["id"]:
        raise otherwise(f"{what}: the reply names no id")
    return found


def _expiry(seconds: int | None) -> Any:
    return openai.omit if seconds is None else {"anchor": "created_at", "seconds": seconds}


def _earliest(since: datetime | None) -> float:
    return (since - _CLOCK_SKEW).timestamp() if since else 0
