"""Execute the runs of a backfill in threads of this process: for `nightmail backfill`, which needs no Prefect server.

Threads are enough: a run mostly waits for the provider. Runs of two dates share no state but the ledger, whose
transactions separate them like two processes (tested in tests/flows/test_backfill.py).
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

STOP_TIMEOUT_SECONDS = 5.0  # for all threads together, after Ctrl-C


@dataclass(frozen=True)
class ThreadRun:
    """The run of one date in a thread."""

    ended: bool
    failure: str = ""
    created_at: datetime | None = None
    link: None = None


class ThreadRuns:
    """The runs of one backfill, each a call of `run` in its own thread. `show_progress` gets the counts at every check."""

    def __init__(
        self, run: Callable[[RunRequest], object], show_progress: Callable[[BackfillProgress], None]
    ) -> None:
        self._run = run
        self._show_progress = show_progress
        self._stop = threading.Event()
        self._runs: dict[date, ThreadRun] = {}
        self._threads: list[threading.Thread] = []
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def started(self) -> Mapping[date, ThreadRun]:
        return dict(self._runs)

    def running_elsewhere(self, days: Collection[date]) -> Collection[date]:  # noqa: ARG002
        return ()  # not known without a server: a run whose lease another process holds fails with RunBusy

    def start(self, request: RunRequest) -> ThreadRun:
        day = request.date
        assert day is not None
        new_run = self._runs[day] = ThreadRun(ended=False, created_at=datetime.now(UTC))
        # A new thread starts with an empty context; Prefect keeps its settings and profile in context variables.
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run_and_record, day, request),
            name=str(day),
            daemon=True,  # a second Ctrl-C ends the process at once
        )
        self._threads.append(thread)
        thread.start()
        return new_run

    def wait(self, seconds: float, progress: BackfillProgress) -> None:
        """Return when a run has ended, or after `seconds`. An unexpected error (not a NightmailError) stops the backfill."""
        self._show_progress(progress)
        try:
            unexpected_error = self._ended.get(timeout=seconds)
        except queue.Empty:
            return
        if unexpected_error is not None:
            raise unexpected_error

    def stop(self) -> None:
        """Interrupt unfinished runs, and wait a few seconds for them to release their leases.

        Otherwise the same command, repeated at once, would find its runs held until the leases lapse.
        """
        self._stop.set()
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run_and_record(self, day: date, request: RunRequest) -> None:
        failure, unexpected_error = "", None
        try:
            with interruptible_by(self._stop):
                self._run(request)
        except NightmailError as error:
            failure = str(error)
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`, in the main thread
            unexpected_error = error
        self._runs[day] = ThreadRun(ended=True, failure=failure)
        self._ended.put(unexpected_error)


@contextmanager
def runs_in_threads(
    run: Callable[[RunRequest], object], show_progress: Callable[[BackfillProgress], None]
) -> Iterator[ThreadRuns]:
    """The runs of a backfill in threads; unfinished ones are interrupted when the block ends."""
    runs = ThreadRuns(run, show_progress)
    try:
        yield runs
    finally:
        runs.stop()
