"""Gemini's Batch API through the `google-genai` SDK, in file mode.

Inline requests are not used: they save one upload for small chunks, and cost what file mode has. Their answers come
inside the operation that every poll fetches, in an order of their own, and rows were seen to lose their key.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any, BinaryIO

import httpx2
from google import genai
from google.genai import errors, types

from configs.errors import LostReply, NotFound, TerminalError, UnreliableReply
from configs.providers.limits import ServiceLimits
from tasks.providers.base import SEARCH_MARGIN, ServiceBatch, ServiceFile, Submission, about, no_guard
from tasks.providers.calls import copy_body
from tasks.providers.deadlines import READING, with_deadlines
from tasks.providers.gemini.calls import GeminiCalls, refused_as
from tasks.providers.gemini.replies import (
    created_at,
    display_name,
    expires_at,
    key_in,
    key_of,
    service_batch,
    status_of,
)
from tasks.providers.pages import endless, goes_on
from tasks.providers.redirects import check_redirect
from tasks.providers.service_clock import ServiceClock
from tasks.providers.shared_client import MadeOnce
from tasks.providers.times import time_of

# "jsonl" as a type works for some accounts and is refused for others: googleapis/python-genai#1547.
_MIME_TYPE = "application/json"
_TIMEOUT_MS = 300_000  # one for all calls, as long as those that create may take; the SDK would wait for ever
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_PAGE = 100


class GeminiBatches:
    """A `BatchService` over Gemini's API. Nothing goes over the network, and no client is made, before the first call."""

    def __init__(
        self, account: str, limits: ServiceLimits, base_url: str, api_version: str, key: str, key_hint: str
    ) -> None:
        self.account = account
        self.limits = limits
        self.clock = ServiceClock()
        self.guard: Callable[[], None] = no_guard
        self._base_url = base_url.rstrip("/")
        self._api_version = api_version
        self._key = key
        self.making = threading.RLock()
        self._calls = GeminiCalls(key_hint)

    @MadeOnce
    def _http(self) -> httpx2.Client:
        """The SDK's connection, shared by what is read raw."""
        service_url = httpx2.URL(self._base_url)

        def before(request: httpx2.Request) -> None:
            self.guard()
            if _is_googles_upload(request.url) and request.url.origin != service_url.origin:
                # Behind a gateway, Google names its own host for it.
                request.headers.pop("x-goog-api-key", None)
                return
            check_redirect(request, service_url)

        hooks = {"request": [before], "response": [lambda reply: self.clock.learn(reply.headers)]}
        return with_deadlines(httpx2.Client(timeout=READING, follow_redirects=True, event_hooks=hooks))

    @MadeOnce
    def _client(self) -> genai.Client:
        # Everything the environment could change is said here. Without retry_options nothing is sent twice.
        options = types.HttpOptions(
            base_url=self._base_url,
            api_version=self._api_version,
            timeout=_TIMEOUT_MS,
            httpx_client=self._http,
        )
        return genai.Client(api_key=self._key, vertexai=False, http_options=options)

    def reconnect(self) -> None:
        with self.making:
            http = self.__dict__.pop("_http", None)
            self.__dict__.pop("_client", None)
        if http is not None:
            self._calls.under_way.retire(http.close)

    def upload(self, file_name: str, file: BinaryIO) -> str:
        with self._calls.creating(f"upload of {file_name}"):
            # The SDK sends a piece again, up to three times, when the reply is none of the upload's: the address
            # is that of one file, so it stays one.
            config = types.UploadFileConfig(display_name=file_name, mime_type=_MIME_TYPE)
            uploaded = self._client.files.upload(file=file, config=config)  # type: ignore[arg-type]  # reads 8 MB at a time
        if uploaded.display_name not in (None, file_name):
            raise UnreliableReply(f"upload of {file_name}: the reply is about another file ({uploaded.name})")
        return _named(uploaded.name, f"upload of {file_name}")

    def find_upload(self, file_name: str, since: datetime) -> str | None:  # noqa: ARG002 - uploads go after 48 hours
        same_name = [file for file in self.list_files() if file.name == file_name]
        newest = max(same_name, key=lambda file: file.created_at or _LONG_AGO, default=None)
        return newest.id if newest else None

    def list_files(self, since: datetime | None = None) -> Iterator[ServiceFile]:
        earliest = self._earliest(since) if since else _LONG_AGO
        for file in self._listed("files", "files", optional=True):  # a second copy of a file costs nothing
            created = time_of(file.get("createTime"))
            if file.get("name") and (created or earliest) >= earliest:
                yield ServiceFile(str(file["name"]), str(file.get("displayName") or ""), created)

    def create(self, submission: Submission, file_id: str) -> ServiceBatch:
        name = display_name(submission)
        with self._calls.creating(f"batch {submission.key}"):
            batches = self._client.batches
            if submission.endpoint == "/v1/embeddings":
                with warnings.catch_warnings(category=genai.errors.ExperimentalWarning, action="ignore"):
                    batch = batches.create_embeddings(
                        model=submission.model, src={"file_name": file_id}, config={"display_name": name}
                    )
            else:
                batch = batches.create(
                    model=submission.model, src={"file_name": file_id}, config={"display_name": name}
                )
        if batch.display_name and key_in(batch.display_name) != submission.key:
            raise UnreliableReply(f"batch {submission.key}: the reply is about another batch ({batch.name})")
        expires = expires_at(time_of(batch.create_time))
        return ServiceBatch(
            _named(batch.name, f"batch {submission.key}"), status_of(batch.state), expires_at=expires
        )

    def find(self, submission: Submission, since: datetime) -> ServiceBatch | None:  # noqa: ARG002 - in no known order
        ours = (operation for operation in self._operations() if key_of(operation) == submission.key)
        return next(map(service_batch, ours), None)

    def list_batches(self, since: datetime) -> Iterator[tuple[str, ServiceBatch]]:
        ours = []
        for operation in self._operations():
            created, earliest = created_at(operation), self._earliest(since)
            if (key := key_of(operation)) and (created or earliest) >= earliest:
                ours.append((created or earliest, key, operation))
        # In which order Google lists them is written nowhere.
        for _, key, operation in sorted(ours, key=lambda each: each[0], reverse=True):
            yield key, service_batch(operation)

    def batch_pages(self, wanted: int) -> Iterator[list[ServiceBatch]]:  # noqa: ARG002 - pages are of one size
        for page in self._pages("batches", "operations", optional=True):
            yield [service_batch(operation) for operation in page]

    def _earliest(self, since: datetime) -> datetime:
        return self.clock.earliest(since, datetime.now(UTC), SEARCH_MARGIN)

    def _operations(self) -> Iterator[dict[str, Any]]:
        return self._listed("batches", "operations")

    def _listed(self, path: str, rows: str, *, optional: bool = False) -> Iterator[dict[str, Any]]:
        """The objects of all pages of a list."""
        return chain.from_iterable(self._pages(path, rows, optional=optional))

    def _pages(self, path: str, rows: str, *, optional: bool = False) -> Iterator[list[dict[str, Any]]]:
        """The objects of a list, page by page. An `optional` one may end early."""
        token, followed = "", set[str]()
        while True:
            with self._calls.reading(f"list of {path}"):
                page = self._get(path, pageSize=_PAGE, **({"pageToken": token} if token else {}))
                objects, token = page.get(rows) or [], str(page.get("nextPageToken") or "")
                if not isinstance(objects, list):
                    raise TypeError("the reply is no list")
            yield [entry for entry in objects if isinstance(entry, dict)]
            if not token:
                return
            if not goes_on(token, followed):
                if optional:
                    return
                raise endless(f"list of {path}")

    def retrieve(self, batch_id: str) -> ServiceBatch:
        with self._calls.reading(f"batch {batch_id}"):
            batch = service_batch(self._get(batch_id))
        about(f"batch {batch_id}", batch_id, batch.id)
        return batch

    def cancel(self, batch_id: str) -> None:
        try:
            with self._calls.reading(f"cancel of {batch_id}"):
                self._client.batches.cancel(name=batch_id)
        except TerminalError as error:
            if error.code != "FAILED_PRECONDITION":
                raise
            # it has ended already

    def download(self, file_id: str, sink: BinaryIO) -> int:
        # Not the SDK's download, which takes a body that is cut for whole.
        url = f"{self._base_url}/{self._api_version}/{file_id}:download"
        headers = {"x-goog-api-key": self._key, "accept-encoding": "gzip"}
        with (
            self._calls.reading(f"file {file_id}"),
            self._http.stream("GET", url, params={"alt": "media"}, headers=headers) as response,
        ):
            if response.status_code >= 400:
                response.read()
            errors.APIError.raise_for_response(response)
            return copy_body(response, sink, f"file {file_id}")

    def delete_file(self, file_id: str) -> None:
        try:
            with self._calls.reading(f"file {file_id}"):
                self._client.files.delete(name=file_id)
        except NotFound:
            return
        except TerminalError as error:
            # Google cannot delete the result files that it names itself (googleapis/python-genai#1759); they go
            # after 48 hours, as uploads do.
            if not refused_as(error, "File ID", "40 characters"):
                raise

    def _get(self, path: str, **query: str | int) -> dict[str, Any]:
        response = self._http.get(
            f"{self._base_url}/{self._api_version}/{path}",
            params=query,
            headers={"x-goog-api-key": self._key},
        )
        errors.APIError.raise_for_response(response)
        body = response.json()
        if not isinstance(body, dict):
            raise TypeError("the reply is no object")
        return body


def _is_googles_upload(url: httpx2.URL) -> bool:
    return url.scheme == "https" and url.host.endswith(".googleapis.com") and url.path.startswith("/upload/")


def _named(name: str | None, subject: str) -> str:
    """The new object's name; a reply without one (a proxy's page) says nothing about what was created."""
    if not name:
        raise LostReply(f"{subject}: the reply names nothing")
    return name
