"""The runs of a backfill as threads of this process: for a terminal, where no worker would take them up.

Runs of two dates share no state but the ledger, whose transactions keep them apart as they do two processes'; the proof
is in tests/flows/test_backfill.py.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

from configs.clock import interruptible_by
from configs.errors import NightmailError
from configs.request import RunRequest
from tasks.backfill.date_runs import BackfillProgress

SECONDS_TO_STOP = 5.0


@dataclass(frozen=True)
class ThreadRun:
    """The run of a date in this process."""

    over: bool
    failure: str = ""
    made_at: datetime | None = None
    link: None = None


class ThreadRuns:
    """Calls `run` for each date in a thread of its own; `show` is told how far the backfill is."""

    def __init__(self, run: Callable[[RunRequest], object], show: Callable[[BackfillProgress], None]) -> None:
        self._run = run
        self._show = show
        self._stop = threading.Event()
        self._runs: dict[date, ThreadRun] = {}
        self._threads: list[threading.Thread] = []
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def started(self) -> Mapping[date, ThreadRun]:
        return dict(self._runs)

    def elsewhere(self, days: Collection[date]) -> Collection[date]:  # noqa: ARG002
        return ()  # a run that another process holds says so itself, and fails

    def start(self, request: RunRequest) -> ThreadRun:
        day = request.date
        assert day is not None
        made = self._runs[day] = ThreadRun(over=False, made_at=datetime.now(UTC))
        # The context holds what this thread was set to, such as Prefect's settings and profile.
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._work, day, request),
            name=str(day),
            daemon=True,  # who types Ctrl-C twice is not kept waiting
        )
        self._threads.append(thread)
        thread.start()
        return made

    def wait(self, seconds: float, so_far: BackfillProgress) -> None:
        """Return when a run has ended. An error that none of ours is stops everything, as it would with one run."""
        self._show(so_far)
        try:
            unexpected = self._ended.get(timeout=seconds)
        except queue.Empty:
            return
        if unexpected is not None:
            raise unexpected

    def stop(self) -> None:
        """End the sleeps of runs that are under way, and give them a moment to let go of their leases."""
        self._stop.set()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, day: date, request: RunRequest) -> None:
        failure, unexpected = "", None
        try:
            with interruptible_by(self._stop):
                self._run(request)
        except NightmailError as error:
            failure = str(error)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            unexpected = error
        self._runs[day] = ThreadRun(over=True, failure=failure)
        self._ended.put(unexpected)


@contextmanager
def runs_in_threads(
    run: Callable[[RunRequest], object], show: Callable[[BackfillProgress], None]
) -> Iterator[ThreadRuns]:
    """Runs in this process; those that are under way when the block ends early are told to stop."""
    runs = ThreadRuns(run, show)
    try:
        yield runs
    finally:
        runs.stop()
