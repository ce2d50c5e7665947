"""Where time comes from. Whatever reads the time takes a `Clock`, so that tests own it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """UTC now, and a way to let time pass."""

    def now(self) -> datetime:
        """Aware UTC datetime."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def interruptible_by(stop: threading.Event) -> Iterator[None]:
    """Let sleeps of this thread end in KeyboardInterrupt once `stop` is set: Ctrl-C itself reaches the main thread alone."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        stop = _stop.get()
        if stop is None:
            time.sleep(max(0.0, seconds))
        elif stop.wait(max(0.0, seconds)):
            raise KeyboardInterrupt
