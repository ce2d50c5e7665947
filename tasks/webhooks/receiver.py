"""What a delivery does: the ledger makes the batch's chunk due, and the flow run that sleeps until then is waked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta

import httpx

from configs.clock import Clock
from configs.errors import StorageError, TransientError
from configs.home import Home
from tasks.ledger import database
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger
from tasks.orchestration.other_runs import FlowRuns
from tasks.providers.webhooks import TOLERANCE_SECONDS, WebhookReader
from tasks.runs.queries import ledger_to_read

_REMEMBERED = timedelta(seconds=3 * TOLERANCE_SECONDS)
"""Longer than a signature holds: its timestamp may be as much in the future as in the past."""


class Receiver:
    """Takes the deliveries of those providers that `readers` names, in any thread.

    `flow_runs` connects to the Prefect server, as often as a run is to be waked; `note` is told what was done, a line each.
    """

    def __init__(
        self,
        readers: Mapping[str, WebhookReader],
        home: Home,
        clock: Clock,
        flow_runs: Callable[[], AbstractContextManager[FlowRuns]],
        note: Callable[[str], None],
    ) -> None:
        self.readers = readers
        self._home = home
        self._clock = clock
        self._flow_runs = flow_runs
        self._note = note
        self._seen = _Seen(clock)
        self._opened: Ledger | None = None

    def receive(self, provider: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Do what a delivery to a provider of `readers` asks for, once; nothing for a batch that no run waits for.

        NotGenuine for one that the provider has not signed. Any other error leaves it undone: it is to be sent again.
        """
        event = self.readers[provider].read(body, headers)
        if event.batch_id is None:
            return
        with self._seen.taking(provider, event.id) as is_new:
            if not is_new:
                return
            why = f"{provider} says that something has become of {event.batch_id}"
            for run in self._look_now(provider, event.batch_id, why):
                waked = ", and is waked" if self._wake(run, why) else ""
                self._note(f"{provider}: {event.batch_id}: {run.title} is to look now{waked}")

    def refuse(self, provider: str, why: str) -> None:
        """Tell of a delivery that was refused: with a wrong secret all of them are."""
        self._note(f"{provider}: refused a webhook: {why}")

    def _look_now(self, provider: str, batch_id: str, why: str) -> tuple[RunRecord, ...]:
        if self._opened is None:
            self._opened = ledger_to_read(self._home)
        if self._opened is not None:
            return self._opened.look_now(provider, batch_id, why)
        if not database.exists(self._home.ledger_url):
            return ()
        found, newest = database.revisions(self._home.ledger_url)
        if found is None:  # nobody has begun a run yet
            return ()
        raise StorageError(
            f"ledger {database.shown(self._home.ledger_url)}: it has the schema {found} and not {newest};"
            " start the receiver of the version that wrote it"
        )

    def _wake(self, run: RunRecord, why: str) -> bool:
        """Wake the flow run that sleeps until the run is to look again. Whoever is awake asks the ledger before it sleeps."""
        if run.origin is None:
            return False
        try:
            with self._flow_runs() as flow_runs:
                seen = flow_runs.see(run.origin)
                return seen is not None and seen.is_asleep and flow_runs.wake(seen, why)
        except httpx.HTTPError as error:
            raise TransientError(f"the Prefect server does not answer ({type(error).__name__})") from error


class _Seen:
    """Which events were taken, for as long as somebody could send them again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: set[tuple[str, str]] = set()
        self._taken: dict[tuple[str, str], datetime] = {}  # in the order of their times

    @contextmanager
    def taking(self, provider: str, event_id: str) -> Iterator[bool]:
        """Whether the event is new; it counts as taken once the block has ended without an error.

        TransientError while another thread takes it: that one may yet fail, and what is answered well is not sent again.
        """
        key = (provider, event_id)
        with self._lock:
            now = self._clock.now()
            while self._taken and now - next(iter(self._taken.values())) > _REMEMBERED:
                del self._taken[next(iter(self._taken))]
            if key in self._under_way:
                raise TransientError("the same event is being taken; send it again")
            is_new = key not in self._taken
            if is_new:
                self._under_way.add(key)
        if not is_new:
            yield False
            return
        try:
            yield True
            with self._lock:
                self._taken[key] = self._clock.now()
        finally:
            with self._lock:
                self._under_way.discard(key)
