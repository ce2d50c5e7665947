"""The interface to the time. All code that reads the time or sleeps takes a `Clock`, so that tests can control it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Reads the time and sleeps."""

    def now(self) -> datetime:
        """The current time, aware and in UTC."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def interruptible_by(stop: threading.Event) -> Iterator[None]:
    """Let sleeps of this thread raise KeyboardInterrupt once `stop` is set: Ctrl-C itself reaches only the main thread."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


class SystemClock:
    """The system clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        stop = _stop.get()
        if stop is None:
            time.sleep(max(0.0, seconds))
        elif stop.wait(max(0.0, seconds)):
            raise KeyboardInterrupt
