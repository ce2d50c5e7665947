"""The interface that every batch service is put behind, and the records it takes and returns.

Creating calls (`upload`, `create`) are sent once: when their reply is lost they raise LostReply, and the
caller looks (`find_upload`, `find`) before it sends anything again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import BinaryIO, Protocol, runtime_checkable

from configs.errors import ConfigError, UnreliableReply
from configs.providers.limits import ServiceLimits
from tasks.providers.service_clock import ServiceClock

SEARCH_MARGIN = timedelta(days=1)
"""Before the time a batch was meant to be made: no two clocks differ by more."""


def no_guard() -> None:
    """The guard of a service that no run holds: every request may go out."""


def key_from(environ: Mapping[str, str], name: str) -> str:
    """The key in that variable; ConfigError when there is none."""
    key = environ.get(name)
    if not key:
        raise ConfigError(
            f"provider.api_key_env: the environment has no {name}; export it, or use provider local"
        )
    return key


class BatchStatus(StrEnum):
    """The state of a batch, in the same words for every service. A word that is not known counts as running."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHING = "finishing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Nothing more will happen to it."""
        return self in (self.COMPLETED, self.FAILED, self.EXPIRED, self.CANCELLED)


@dataclass(frozen=True)
class Submission:
    """One batch to be created, or looked for. `key` is unique; services that keep it find the batch by it.

    Those that keep nothing of ours look for the one batch of so many `requests`, made since, that is none of
    `known_batch_ids` (the ledger's). `unconfirmed_others` is how many other postings of that size have no batch yet either:
    such a batch may be one of theirs. `lines` opens the posted file, for services without uploads and for comparing ids.
    """

    key: str
    file_name: str
    endpoint: str
    model: str
    completion_window: str
    requests: int
    lines: Callable[[], BinaryIO]
    metadata: Mapping[str, str] = field(default_factory=dict)
    known_batch_ids: frozenset[str] = frozenset()
    file_id: str = ""  # of the upload, where there is one: a batch over it is ours, whatever it carries
    unconfirmed_others: int = 0

    @property
    def title(self) -> str:
        """`letters 2026-11-21`: job and run, for a service that shows a name; empty where it carries none."""
        return " ".join(filter(None, (self.metadata.get("job"), self.metadata.get("run"))))

    def key_with(self, text: str) -> str:
        """The key, which has no space, then the text that people read: `key_before` finds the key in it again."""
        return f"{self.key} {text}".rstrip()


def key_before(text: str) -> str:
    """The submission key at the beginning of a text made by `Submission.key_with`, also where its end was cut off."""
    return text.partition(" ")[0]


@dataclass(frozen=True)
class ServiceBatch:
    """A batch as the service describes it; counts are None where it does not say, `key` where it carries none of ours."""

    id: str
    status: BatchStatus
    total: int | None = None
    completed: int | None = None
    failed: int | None = None
    result_files: tuple[str, ...] = ()
    error_code: str | None = None
    error_message: str | None = None
    error_line: int | None = None  # 1-based, of the posted file
    expires_at: datetime | None = None
    ended_at: datetime | None = None  # by the service's clock
    key: str | None = None

    def confirmed(self, key: str) -> ServiceBatch:
        """The same, unless it carries the key of another submission: then UnreliableReply."""
        if self.key not in (None, key):
            raise UnreliableReply(
                f"batch {self.id}: the reply is about another batch, it carries another key"
            )
        return self


def about(subject: str, asked: str, answered: object) -> None:
    """UnreliableReply unless a reply names the very id that was asked for."""
    if str(answered) != asked:
        raise UnreliableReply(f"{subject}: the reply is about another one ({str(answered)[:80]})")


@dataclass(frozen=True)
class ServiceFile:
    """A file at the service, uploaded or made by it."""

    id: str
    name: str
    created_at: datetime | None = None


@runtime_checkable
class KeepsVideos(Protocol):
    """A service whose video answers are objects; their files are fetched apart, while it has them."""

    def download_video(self, video_id: str, sink: BinaryIO) -> int:
        """Write a video's file to `sink`; bytes written. NotFound once it is gone."""


@runtime_checkable
class AnswersInRealTime(Protocol):
    """A service whose provider can be asked by real-time calls as well."""

    # Connects to the service that makes so many calls at a time; one shape for both, see `registry.connect`.
    in_real_time: Callable[[int], BatchService]


class BatchService(Protocol):
    """A batch service. Raises TransientError, LostReply, NotFound, TerminalError or ConfigError, nothing else. Several threads
    may call it at once.

    A reply that names another batch or file than it was asked for is an UnreliableReply.
    """

    account: str  # quota is shared by everything posted under this name; holds no secret
    limits: ServiceLimits
    clock: ServiceClock  # what time it is there
    # Called as each request goes out; raises when this process may not act any more.
    guard: Callable[[], None]

    def reconnect(self) -> None:
        """Close every connection; the next call opens a new one."""

    def upload(self, file_name: str, file: BinaryIO) -> str:
        """Upload a request file; its id, empty where the requests go with the batch and there is nothing to upload."""

    def find_upload(self, file_name: str, since: datetime) -> str | None:
        """The newest upload of that name, if the service can list files. `since`, when it may have been made, bounds the
        search with a margin of a day."""

    def list_files(self, since: datetime | None = None) -> Iterator[ServiceFile]:
        """Every file of the account, anybody's, made after `since`; none where the service cannot list files."""

    def create(self, submission: Submission, file_id: str) -> ServiceBatch:
        """Create a batch over an uploaded file."""

    def find(self, submission: Submission, since: datetime) -> ServiceBatch | None:
        """The batch of this submission, if there is one. TransientError while it cannot be told which one it is,
        TerminalError when it never will: never a guess.

        It is found by its key, whatever its age: clocks differ. `since` only bounds the search, with a margin of a day.
        """

    def list_batches(self, since: datetime) -> Iterator[tuple[str, ServiceBatch]]:
        """(key, batch) of the batches created after `since`, and some older ones, that carry a key of ours, newest first;
        none where a batch cannot carry one."""

    def batch_pages(self, wanted: int) -> Iterator[list[ServiceBatch]]:
        """Page by page the account's batches as they are now, anybody's, as a rule newest first. Each page is one request,
        sent when it is asked for; `wanted` is how many are looked for. What is not shown need not be gone: it may end early.
        """

    def retrieve(self, batch_id: str) -> ServiceBatch:
        """The batch as it is now."""

    def cancel(self, batch_id: str) -> None:
        """Ask for the end of a batch; an ended one is left alone."""

    def download(self, file_id: str, sink: BinaryIO) -> int:
        """Write a result file to `sink` byte for byte; bytes written. A broken transfer is a TransientError, a reply that
        cannot be the file an UnreliableReply. One that ends too early need not show: its lines tell."""

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone is fine."""
