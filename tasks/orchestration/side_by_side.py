"""Do the same with several things at once, in threads: they mostly wait for a provider or a disk."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

_LOOK_SECONDS = 0.2

T = TypeVar("T")
R = TypeVar("R")

STOP_SECONDS = 5.0
"""For all threads together to come to the end of what they have under way."""


def side_by_side(
    function: Callable[[T], R], items: Sequence[T], threads: int, stop: Callable[[], None]
) -> list[R]:
    """The results in the order of the items, which are taken in that order by up to so many threads; by the caller's own
    where one is enough.

    The first error, and an interrupt of the caller, ends it: no further item is begun, `stop` is called, which is to make
    those under way raise, and `STOP_SECONDS` later whatever they do is left to daemon threads, for which no process waits.
    """
    threads = min(threads, len(items))
    if threads <= 1:
        return [function(item) for item in items]
    work = _Work(function, items)
    try:
        work.start(threads)
        work.wait()
    except BaseException:
        work.stopped = True
        stop()
        work.join(STOP_SECONDS)
        raise
    return [work.results[number] for number in range(len(items))]


class _Work(Generic[T, R]):
    """What the threads share."""

    def __init__(self, function: Callable[[T], R], items: Sequence[T]) -> None:
        self.results: dict[int, R] = {}
        self.stopped = False
        self._function = function
        self._items: Iterator[tuple[int, T]] = iter(enumerate(items))
        self._taking = threading.Lock()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        """Begin with so many threads."""
        for number in range(count):
            # Each in a copy of its own: Prefect finds the flow run, and an interruptible sleep its event, in the context.
            target = contextvars.copy_context().run
            thread = threading.Thread(
                target=target, args=(self._run,), name=f"transfer-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def wait(self) -> None:
        """Return when all threads have ended; raise the first error."""
        for _ in self._threads:
            error = self._next_end()
            if error is not None:
                raise error

    def _next_end(self) -> BaseException | None:
        # Not one long wait: a signal that comes right before Python waits for the lock is heeded when the wait is over.
        while True:
            with suppress(queue.Empty):
                return self._ended.get(timeout=_LOOK_SECONDS)

    def join(self, seconds: float) -> None:
        """Wait for the threads, but no longer."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        try:
            while (taken := self._take()) is not None:
                number, item = taken
                self.results[number] = self._function(item)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._ended.put(error)
        else:
            self._ended.put(None)

    def _take(self) -> tuple[int, T] | None:
        with self._taking:
            return None if self.stopped else next(self._items, None)
