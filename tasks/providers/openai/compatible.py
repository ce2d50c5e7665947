"""OpenAI's Files and Batches protocol through the `openai` SDK: OpenAI itself, the embedded service, compatible ones.

The SDK takes a second to import, which is spent at the first call and not before rows are prepared.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from configs.errors import (
    ConfigError,
    LostReply,
    NotFound,
    QueueFull,
    TerminalError,
    TransientError,
    UnreliableReply,
)
from configs.providers.base import KeyedProviderSettings
from configs.providers.limits import ServiceLimits
from configs.providers.openai import FILE_PURPOSE, UPLOAD_PATH
from tasks.providers.base import (
    SEARCH_MARGIN,
    ServiceBatch,
    ServiceFile,
    Submission,
    about,
    key_from,
    no_guard,
)
from tasks.providers.calls import Calls, copy_body, status_error_text
from tasks.providers.deadlines import CREATING, READING, with_deadlines
from tasks.providers.guarded_file import guarded
from tasks.providers.openai.replies import (
    Record,
    batch_of,
    metadata_of,
    record_of,
    record_pages,
    records_since,
)
from tasks.providers.redirects import check_redirect
from tasks.providers.service_clock import ServiceClock
from tasks.providers.shared_client import MadeOnce
from tasks.providers.times import time_of

if TYPE_CHECKING:
    from openai import OpenAI

KEY = "nightmail_key"  # the metadata entry that carries the submission key
# How long uploads and results may stay at the service, should nobody be left to delete them: 14 days, within the
# 3,600 to 2,592,000 s that https://platform.openai.com/docs/api-reference/files/create allows.
KEEP_SECONDS = 1_209_600
_ONLY_GZIP = {"accept-encoding": "gzip"}  # the one whose end is checked
# No error code is common to them, so a full file store and a full queue are known by the words of the refusal.
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

Hooks = dict[str, list[Callable[..., Any]]]
"""The HTTP client's event hooks."""


def _with_key(submission: Submission) -> dict[str, str]:
    return {**submission.metadata, KEY: submission.key}


def _key_in(metadata: Mapping[str, str]) -> str | None:
    return metadata.get(KEY)


@dataclass(frozen=True)
class ServiceQuirks:
    """Where one service departs from OpenAI's protocol, as data.

    `label` is the metadata of a new batch, `key_in` finds the submission key in it again. `keep_*_seconds` ask the
    service to delete files that old; None where it may not know how. `store` names what a full file store holds.
    `file_purpose` is what uploads are for, in its words, and `upload_path` where it takes them.
    """

    label: Callable[[Submission], dict[str, str]] = _with_key
    key_in: Callable[[Mapping[str, str]], str | None] = _key_in
    keep_uploads_seconds: int | None = None
    keep_results_seconds: int | None = None
    store: str = "the service's file store"
    file_purpose: str = FILE_PURPOSE
    upload_path: str = UPLOAD_PATH


class OpenAICompatible:
    """A `BatchService` over one OpenAI client, which `make_client` builds at first use."""

    def __init__(
        self,
        account: str,
        limits: ServiceLimits,
        make_client: Callable[[Hooks], OpenAI],
        key_hint: str,
        quirks: ServiceQuirks = ServiceQuirks(),
    ) -> None:
        self.account = account
        self.limits = limits
        self.clock = ServiceClock()
        self.guard: Callable[[], None] = no_guard
        self._make_client = make_client
        self.making = threading.RLock()
        self._calls = Calls("openai", key_hint)
        self._quirks = quirks

    @MadeOnce
    def _client(self) -> OpenAI:
        return self._make_client(
            {
                "request": [lambda _: self.guard(), check_redirect],
                "response": [lambda reply: self.clock.learn(reply.headers)],
            }
        )

    @MadeOnce
    def _unretried(self) -> OpenAI:
        """For calls that create: the SDK would repeat them after a lost reply, and each repeat is a paid batch."""
        return self._client.with_options(max_retries=0, timeout=CREATING)

    @MadeOnce
    def _once(self) -> OpenAI:
        """For what a run repeats by itself: it waits as long as the service asks, and the other chunks go on meanwhile."""
        return self._client.with_options(max_retries=0)

    def reconnect(self) -> None:
        with self.making:
            client = self.__dict__.pop("_client", None)
            self.__dict__.pop("_unretried", None)
            self.__dict__.pop("_once", None)
        if client is not None:
            self._calls.under_way.retire(client.close)

    def upload(self, file_name: str, file: BinaryIO) -> str:
        subject, size = f"upload of {file_name}", file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            with self._calls.creating(subject):
                response = self._post_file(file_name, guarded(file, self.guard))
        except (TerminalError, ConfigError) as error:
            text = status_error_text(error.__cause__)
            if _STORE_FULL.search(text) is None or _TOO_LARGE.search(text):
                raise
            way_out = "delete files there; `nightmail clean` shows what runs left"
            raise QueueFull(f"{subject}: {text}; {self._quirks.store} is full: {way_out}") from error
        uploaded = _identified(response.content, subject, LostReply)
        # A service may keep a file under another name, but not with another size.
        if uploaded.get("filename") not in (None, file_name) and uploaded.get("bytes") not in (None, size):
            raise UnreliableReply(f"{subject}: the reply is about another file ({uploaded['id']})")
        return str(uploaded["id"])

    def _post_file(self, file_name: str, file: BinaryIO) -> Any:
        """What the SDK's `files.create` sends, at the path that takes uploads here."""
        import httpx2

        keep, path = self._quirks.keep_uploads_seconds, self._quirks.upload_path
        fields = {
            "purpose": self._quirks.file_purpose,
            **({} if keep is None else {"expires_after": _expiry(keep)}),
            # Together needs the name as a field: https://docs.together.ai/reference/upload-file
            **({} if path == UPLOAD_PATH else {"file_name": file_name}),
        }
        return self._unretried.post(
            path,
            body=fields,
            # An open handle streams; a path or bytes would be read into memory whole.
            files={"file": (file_name, file, "application/jsonl")},
            options={"headers": {"Content-Type": "multipart/form-data"}},
            cast_to=httpx2.Response,
        )

    def find_upload(self, file_name: str, since: datetime) -> str | None:
        return next((file.id for file in self.list_files(since) if file.name == file_name), None)

    def list_files(self, since: datetime | None = None) -> Iterator[ServiceFile]:
        import openai

        with self._calls.reading("list of files"):
            list_page = self._client.files.with_raw_response.list
            try:
                for file in records_since(
                    lambda after: list_page(order="desc", after=after or openai.omit).content,
                    partial(self._earliest, since),
                    optional=True,  # a second copy of a file costs nothing
                ):
                    yield ServiceFile(
                        str(file.get("id")), str(file.get("filename") or ""), time_of(file.get("created_at"))
                    )
            except openai.APIStatusError as error:
                if error.status_code not in (404, 405, 501):
                    raise  # else: the service cannot list files

    def create(self, submission: Submission, file_id: str) -> ServiceBatch:
        subject = f"batch {submission.key}"
        try:
            with self._calls.creating(subject):
                response = self._unretried.batches.with_raw_response.create(
                    input_file_id=file_id,
                    endpoint=submission.endpoint,  # type: ignore[arg-type]  # any string is sent
                    completion_window=submission.completion_window,  # type: ignore[arg-type]  # Alibaba takes others
                    metadata=self._quirks.label(submission),
                    output_expires_after=_expiry(self._quirks.keep_results_seconds),
                )
        except (TerminalError, ConfigError) as error:
            text = status_error_text(error.__cause__)
            if _TOO_MANY.search(text) is None:
                raise
            raise QueueFull(f"{subject}: {text}; it is posted when there is room") from error
        created = _identified(response.content, subject, LostReply)
        if created.get("input_file_id") not in (None, "", file_id):
            raise UnreliableReply(
                f"{subject}: the reply is about a batch over another file ({created['id']})"
            )
        return self._batch(created).confirmed(submission.key)

    def find(self, submission: Submission, since: datetime) -> ServiceBatch | None:
        for batch in self._batches_since(since):
            key = self._quirks.key_in(metadata_of(batch))
            # Where no metadata is kept, the uploaded file tells: nobody else posts it. An earlier posting of it may have.
            same_file = key is None and batch.get("input_file_id") == submission.file_id != ""
            if key == submission.key or (same_file and batch.get("id") not in submission.known_batch_ids):
                return self._batch(batch)
        return None

    def list_batches(self, since: datetime) -> Iterator[tuple[str, ServiceBatch]]:
        for batch in self._batches_since(since):
            key = self._quirks.key_in(metadata_of(batch))
            if key:
                yield key, self._batch(batch)

    def batch_pages(self, wanted: int) -> Iterator[list[ServiceBatch]]:  # noqa: ARG002 - pages are of one size
        from openai import omit

        with self._calls.reading("list of batches"):
            list_page = self._once.batches.with_raw_response.list
            for page in record_pages(
                lambda after: list_page(limit=100, after=after or omit).content, lambda: 0, optional=True
            ):
                yield [self._batch(record) for record in page]

    def _batches_since(self, since: datetime) -> Iterator[Record]:
        from openai import omit

        with self._calls.reading("list of batches"):
            list_page = self._client.batches.with_raw_response.list
            yield from records_since(
                lambda after: list_page(limit=100, after=after or omit).content,
                partial(self._earliest, since),
            )

    def _earliest(self, since: datetime | None) -> float:
        if since is None:
            return 0
        return self.clock.earliest(since, datetime.now(UTC), SEARCH_MARGIN).timestamp()

    def _batch(self, record: Record) -> ServiceBatch:
        return batch_of(record, self._quirks.key_in(metadata_of(record)))

    def retrieve(self, batch_id: str) -> ServiceBatch:
        with self._calls.reading(f"batch {batch_id}"):
            response = self._once.batches.with_raw_response.retrieve(batch_id)
        record = _identified(response.content, f"batch {batch_id}", TransientError)
        about(f"batch {batch_id}", batch_id, record["id"])
        return self._batch(record)

    def cancel(self, batch_id: str) -> None:
        subject = f"cancel of {batch_id}"
        try:
            with self._calls.reading(subject):
                response = self._unretried.batches.with_raw_response.cancel(batch_id)
            about(subject, batch_id, record_of(response.content).get("id", batch_id))
        except (TerminalError, TransientError) as error:
            # A batch that has ended cannot be cancelled: OpenAI answers 409 then, others 400 or 422.
            status = getattr(error.__cause__, "status_code", None)
            if status == 409 or (status in (400, 422) and self.retrieve(batch_id).status.ended):
                return
            raise

    def download(self, file_id: str, sink: BinaryIO) -> int:
        subject = f"file {file_id}"
        with (
            self._calls.reading(subject),
            self._once.files.with_streaming_response.content(file_id, extra_headers=_ONLY_GZIP) as response,
        ):
            return copy_body(response.http_response, sink, subject)

    def download_video(self, video_id: str, sink: BinaryIO) -> int:
        subject = f"video {video_id}"
        # The SDK marks it deprecated: OpenAI announced the end of its own video models for 2026-09-24.
        with (
            self._calls.reading(subject),
            self._once.videos.with_streaming_response.download_content(
                video_id, extra_headers=_ONLY_GZIP
            ) as response,
        ):
            return copy_body(response.http_response, sink, subject)

    def delete_file(self, file_id: str) -> None:
        try:
            with self._calls.reading(f"file {file_id}"):
                response = self._client.files.with_raw_response.delete(file_id)
        except NotFound:
            return
        about(f"deletion of {file_id}", file_id, record_of(response.content).get("id", file_id))


def connect_with_key(
    config: KeyedProviderSettings, environ: Mapping[str, str], quirks: ServiceQuirks
) -> OpenAICompatible:
    """The service at the address of `config`; ConfigError when its key is not in the environment."""
    key = key_from(environ, config.api_key_env)

    def make_client(hooks: Hooks) -> OpenAI:
        from openai import DefaultHttpxClient, OpenAI

        http = with_deadlines(DefaultHttpxClient(event_hooks=hooks, timeout=READING))
        return OpenAI(api_key=key, base_url=config.address, http_client=http)

    return OpenAICompatible(
        account=config.account,
        limits=config.limits,
        make_client=make_client,
        key_hint=config.key_hint,
        quirks=quirks,
    )


def _identified(content: bytes, subject: str, without_id: type[TransientError]) -> Record:
    """The object in a 2xx reply; one without an id (a proxy's page) says nothing, also not about what was created."""
    record = record_of(content)
    if not isinstance(record.get("id"), str | int) or not record["id"]:
        raise without_id(f"{subject}: the reply names no id")
    return record


def _expiry(seconds: int | None) -> Any:
    from openai import omit

    return omit if seconds is None else {"anchor": "created_at", "seconds": seconds}
