"""Anthropic's Message Batches through the `anthropic` SDK.

https://platform.claude.com/docs/en/build-with-claude/batch-processing

Requests go with the batch, and a batch keeps nothing of ours: no upload, no key to find it by. What a lost reply has
made is told by when it was made, how many requests it has and, once it has ended, by the ids in its results.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, cast

import anthropic
from anthropic import Anthropic
from anthropic.pagination import SyncPage
from anthropic.types.messages import MessageBatch

from configs.errors import LostReply, NotFound, TerminalError, TransientError, UnreliableReply
from configs.providers.anthropic import BODY_HEAD, BODY_TAIL
from configs.providers.limits import ServiceLimits
from tasks.providers.anthropic.replies import (
    LEEWAY,
    as_array,
    has_id,
    ids_of,
    line_id,
    naming_the_row,
    no_results,
    service_batch,
    total_of,
)
from tasks.providers.base import (
    ServiceBatch,
    ServiceFile,
    Submission,
    about,
    no_guard,
)
from tasks.providers.calls import Calls, copy_body
from tasks.providers.deadlines import CREATING
from tasks.providers.pages import endless, goes_on
from tasks.providers.redirects import check_redirect
from tasks.providers.service_clock import ServiceClock
from tasks.providers.shared_client import MadeOnce
from tasks.providers.times import time_of

_SAMPLE = 1 << 16  # bytes of results that tell whose they are
# By which a batch may be dated too early, and its results must say whose it is.
_CLOCKS_DIFFER = timedelta(hours=2)
_FEW, _MOST = 100, 1_000  # batches on a page; a thousand is the most that Anthropic gives
_PATH = "/v1/messages/batches"


class AnthropicBatches:
    """A `BatchService` over one Anthropic client, which `make_client` builds at first use.

    A batch's results go by its own id: they are its one result file.
    """

    def __init__(
        self,
        account: str,
        limits: ServiceLimits,
        make_client: Callable[[dict[str, list[Callable[..., Any]]]], Anthropic],
        key_hint: str,
    ) -> None:
        self.account = account
        self.limits = limits
        self.clock = ServiceClock()
        self.guard: Callable[[], None] = no_guard
        self._make_client = make_client
        self.making = threading.RLock()
        self._calls = Calls("anthropic", key_hint)

    @MadeOnce
    def _client(self) -> Anthropic:
        return self._make_client(
            {
                "request": [lambda _: self.guard(), check_redirect],
                "response": [lambda reply: self.clock.learn(reply.headers)],
            }
        )

    @MadeOnce
    def _unretried(self) -> Anthropic:
        """For calls that create: the SDK would repeat them after a lost reply, and each repeat is a paid batch."""
        return self._client.with_options(max_retries=0, timeout=CREATING)

    @MadeOnce
    def _once(self) -> Anthropic:
        """For what a run repeats by itself: it waits as long as the service asks, and the other chunks go on meanwhile."""
        return self._client.with_options(max_retries=0)

    def reconnect(self) -> None:
        with self.making:
            client = self.__dict__.pop("_client", None)
            self.__dict__.pop("_unretried", None)
            self.__dict__.pop("_once", None)
        if client is not None:
            self._calls.under_way.retire(client.close)

    def upload(self, file_name: str, file: BinaryIO) -> str:  # noqa: ARG002 - the protocol's
        return ""

    def find_upload(self, file_name: str, since: datetime) -> str | None:  # noqa: ARG002 - the protocol's
        return None

    def list_files(self, since: datetime | None = None) -> Iterator[ServiceFile]:  # noqa: ARG002 - the protocol's
        return iter(())

    def create(self, submission: Submission, file_id: str) -> ServiceBatch:  # noqa: ARG002 - the protocol's
        subject = f"batch {submission.key}"
        try:
            with submission.lines() as lines, self._calls.creating(subject):
                # batches.create() would hold all requests as objects and again as text: this holds a block of them.
                size = lines.seek(0, io.SEEK_END) - 1 + len(BODY_HEAD) + len(BODY_TAIL)
                headers = {"content-type": "application/json", "content-length": str(size)}
                created = self._unretried.post(
                    _PATH,
                    cast_to=MessageBatch,
                    content=self._guarded(as_array(lines)),
                    options={"headers": headers},
                )
        except TerminalError as error:
            raise naming_the_row(error, submission) from error
        if not has_id(created):
            raise LostReply(f"{subject}: the reply names no id")
        if total_of(created) not in (None, 0, submission.requests):
            raise UnreliableReply(f"{subject}: the reply is about a batch of another size ({created.id})")
        return service_batch(created)

    def _guarded(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks, each if this process may still act: a body takes minutes, and one cut short makes no batch."""
        for block in blocks:
            self.guard()
            yield block

    def find(self, submission: Submission, since: datetime) -> ServiceBatch | None:
        """The submission's batch, if there is one. One that has ended is ours when its results say so. One that is under
        way is taken for ours when it is alone, was made when ours was sent, and nobody else may be looking for it; else the
        run waits until it has ended."""
        our_ids = ids_of(submission)
        found = [
            (batch, ours)
            for batch in self._batches_since(since)
            if batch.id not in submission.known_batch_ids
            and total_of(batch) in (None, submission.requests)
            and (ours := self._is_ours(batch, our_ids)) is not False
        ]
        if not found:
            return None
        # A batch need not be dated by the clock that dates replies: one that seems too old is ours if its results say so.
        sent = self.clock.earliest(since, datetime.now(UTC), LEEWAY)
        likely = [
            (batch, ours) for batch, ours in found if ours or (time_of(batch.created_at) or sent) >= sent
        ]
        candidates = likely or found
        candidate, proved = candidates[0]
        if len(candidates) == 1 and (proved or (likely and not submission.unconfirmed_others)):
            return service_batch(candidate)
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
        self._page(limit=1)  # a wrong key is an error here as everywhere
        yield from ()

    def batch_pages(self, wanted: int) -> Iterator[list[ServiceBatch]]:
        limit = min(max(wanted, _FEW), _MOST)
        query: dict[str, Any] = {}
        followed: set[str] = set()
        while True:
            page = self._page(once=True, limit=limit, **query)
            yield [service_batch(batch) for batch in page.data]
            if not (page.has_more and page.last_id and goes_on(str(page.last_id), followed)):
                return
            query = {"after_id": page.last_id}

    def retrieve(self, batch_id: str) -> ServiceBatch:
        return service_batch(self._retrieve(batch_id))

    def cancel(self, batch_id: str) -> None:
        with self._calls.reading(f"cancel of {batch_id}"):
            try:
                cancelled = self._unretried.messages.batches.cancel(batch_id)
                about(f"cancel of {batch_id}", batch_id, getattr(cancelled, "id", None) or batch_id)
            except (anthropic.BadRequestError, anthropic.ConflictError):
                if not self.retrieve(batch_id).status.ended:
                    raise

    def download(self, file_id: str, sink: BinaryIO) -> int:
        batch = self._retrieve(file_id)
        if batch.results_url is None:
            raise no_results(batch)
        with self._calls.reading(f"results of {file_id}"), closing(self._results(file_id)) as response:
            return copy_body(response.http_response, sink, f"results of {file_id}")

    def delete_file(self, file_id: str) -> None:
        try:
            with self._calls.reading(f"batch {file_id}"):
                deleted = self._client.messages.batches.delete(file_id)
            about(f"deletion of {file_id}", file_id, getattr(deleted, "id", None) or file_id)
        except NotFound:
            return
        except TerminalError as error:
            if error.__cause__ is None or getattr(error.__cause__, "status_code", 0) != 405:
                raise  # else: a gateway that cannot delete

    def _retrieve(self, batch_id: str) -> MessageBatch:
        with self._calls.reading(f"batch {batch_id}"):
            batch = self._once.messages.batches.retrieve(batch_id)
        if not has_id(batch):
            raise TransientError(f"batch {batch_id}: the reply is no batch")
        about(f"batch {batch_id}", batch_id, batch.id)
        return batch

    def _batches_since(self, since: datetime) -> Iterator[MessageBatch]:
        page = self._page(limit=100)
        followed: set[str] = set()
        while True:
            earliest = self.clock.earliest(since, datetime.now(UTC), _CLOCKS_DIFFER)
            for batch in page.data:
                if (time_of(batch.created_at) or earliest) < earliest:
                    return
                yield batch
            if not page.has_more:
                return
            if not (page.last_id and goes_on(str(page.last_id), followed)):
                raise endless("list of batches")
            page = self._page(limit=100, after_id=page.last_id)

    def _page(self, *, once: bool = False, **query: Any) -> SyncPage[MessageBatch]:
        """A page of the list. A reply that is none must not pass for an empty list: we would post again."""
        with self._calls.reading("list of batches"):
            client = self._once if once else self._client
            response = client.messages.batches.with_raw_response.list(**query)
            try:
                page = response.parse()
            except AttributeError as error:  # the SDK's, of whatever is no object
                raise TransientError("list of batches: the reply is no list") from error
        data: Any = page.data if "data" in page.model_fields_set else "absent"
        page.data = data or []
        if not isinstance(page.data, list) or not all(map(has_id, page.data)):
            raise TransientError("list of batches: the reply is no list")
        return page

    def _is_ours(self, batch: MessageBatch, our_ids: frozenset[str]) -> bool | None:
        """Whether its results are for our ids; None while it has none to show. UnreliableReply where they cannot be read."""
        if batch.processing_status != "ended" or batch.results_url is None:
            return None
        sample = b""
        try:
            with self._calls.reading(f"results of {batch.id}"), closing(self._results(batch.id)) as response:
                for block in response.iter_bytes(_SAMPLE):
                    sample += block
                    if len(sample) >= _SAMPLE and b"\n" in sample:
                        sample = sample[: sample.rindex(b"\n")]
                        break
        except NotFound:
            return False  # deleted since it was listed
        ids = [line_id(line) for line in sample.split(b"\n") if line.strip()]
        if not ids or None in ids:
            raise UnreliableReply(f"results of {batch.id}: cannot be read, so nobody can tell whose they are")
        return all(custom_id in our_ids for custom_id in ids)

    def _results(self, batch_id: str) -> anthropic.APIResponse[Any]:
        # Always at the base URL: the key must not follow a results_url to another host.
        headers = {
            "accept": "application/binary",
            "accept-encoding": "gzip",  # the one whose end is checked
            "x-stainless-raw-response": "stream",
        }
        response = self._once.get(f"{_PATH}/{batch_id}/results", cast_to=object, options={"headers": headers})
        return cast("anthropic.APIResponse[Any]", response)
