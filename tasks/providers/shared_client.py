"""What makes one SDK client serve several threads: it is made once, and a new one leaves calls over the old one alone."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


class MadeOnce(functools.cached_property[T]):
    """A cached property that one thread makes while the others wait; its instance has an RLock named `making`.

    Python's own makes no such promise from 3.12 on, and a second client is a connection that nobody closes.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Self | T:
        if instance is None:
            return self
        with instance.making:
            made: T = super().__get__(instance, owner)
            return made


class CallsUnderWay:
    """Counts calls, so that a client is closed when the last one that may go over it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client = 0  # how many have been retired
        self._calls: Counter[int] = Counter()  # under way, by the client that was there when they began
        self._retired: dict[int, Callable[[], None]] = {}

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call, over the client that is there now or a later one."""
        with self._lock:
            client = self._client
            self._calls[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls[client] -= 1
            self._close_unused()

    def retire(self, close: Callable[[], None]) -> None:
        """Calls that begin from here on go over another client: `close` this one as soon as no other does."""
        with self._lock:
            self._retired[self._client] = close
            self._client += 1
        self._close_unused()

    def _close_unused(self) -> None:
        with self._lock:
            self._calls = +self._calls
            oldest = min(self._calls, default=self._client)
            unused = [self._retired.pop(client) for client in sorted(self._retired) if client < oldest]
        for close in unused:
            close()
