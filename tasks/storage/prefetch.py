"""Use threads for what waits outside the interpreter: read items ahead while one is worked on, map a slow function."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END = object()
READ_AHEAD_BYTES = 2 << 20
_STOP_CHECK_SECONDS = 0.1


def read_ahead(
    items: Iterable[T], depth: int = 8, weigh: Callable[[T], int] | None = None, most: int = READ_AHEAD_BYTES
) -> Generator[T, None, None]:
    """The items, in order, taken from their source by another thread: at most `depth` in advance, and about `most` bytes.

    For sources that wait or compute outside the interpreter, as Arrow's readers do. An exception of the source
    is raised where its item would have come. Closing the generator ends the thread.
    """
    fetched: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()
    weight = _Weight(most, stopped)

    def hand_over(item: object, error: BaseException | None = None) -> bool:
        """Wait for room and put the item there; False when nobody wants it any more."""
        while not stopped.is_set():  # a plain `put` would wait for ever once the reader is gone
            try:
                fetched.put((item, error), timeout=_STOP_CHECK_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def fetch() -> None:
        try:
            if all(weight.add(weigh(item) if weigh else 0) and hand_over(item) for item in items):
                hand_over(_END)
        except BaseException as error:  # noqa: BLE001 - raised again where the item would have come
            hand_over(_END, error)

    thread = threading.Thread(target=fetch, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = fetched.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]
            weight.remove(weigh(item) if weigh else 0)  # type: ignore[arg-type]
    finally:
        stopped.set()
        thread.join()


class _Weight:
    """The bytes under way between two threads; adding waits for room, unless nothing else is under way."""

    def __init__(self, most: int, stopped: threading.Event) -> None:
        self._most, self._stopped = most, stopped
        self._held = 0
        self._changed = threading.Condition()

    def add(self, size: int) -> bool:
        """Wait until there is room for `size`; False when nobody wants it any more."""
        with self._changed:
            while self._held and self._held + size > self._most:
                if self._stopped.is_set():
                    return False
                self._changed.wait(_STOP_CHECK_SECONDS)
            self._held += size
        return True

    def remove(self, size: int) -> None:
        with self._changed:
            self._held -= size
            self._changed.notify_all()


def map_in_threads(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`function` of every item, in order, `threads` at a time: for calls that wait for a disk or a store.

    No more than `threads` results wait to be taken: they may be large.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="map") as pool:
        pending: deque[Future[R]] = deque()
        for item in items:
            if len(pending) == threads:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
