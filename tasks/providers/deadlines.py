"""HTTP clients whose calls end: a timeout counts for the call as a whole, not anew for each byte that trickles in.

A plain client waits its timeout for every single read and write, so that a reply of one byte a second takes hours, and every
other chunk of the run waits with it. Here a call has its timeout in total, and what moves earns time back: at
`SLOWEST_LINE` bytes a second a call goes on for ever, below that it ends after the timeout. So there are no limits
for whole downloads, which are as large as they are: 500 MB over a line of 10 kB/s may take their 14 hours, while a line that
stalls is left after two minutes. A call that has ended is a timeout like any other: the chunk waits and is tried again.
"""

from __future__ import annotations

import time
from typing import Any, Final

import httpx2
from httpcore2 import NetworkStream, ReadTimeout, WriteTimeout

from tasks.providers.connections import Client, wrap_connections

SLOWEST_LINE: Final = 4_096
"""Bytes a second, either way: below what any line in use carries, above what trickles through one that is stuck."""

READING: Final = httpx2.Timeout(120, connect=10)
"""For calls that ask. Replies come within seconds; the longest, a list of 10,000 files, within half a minute."""

CREATING: Final = httpx2.Timeout(300, connect=10)
"""For calls that create: services check what was uploaded before they answer, and a reply given up has to be looked for."""

_SLICE = 16_384  # bytes to write at a time: one TLS record


def with_deadlines(client: Client) -> Client:
    """The same client, its calls ended as described above; also those through a proxy of the environment."""
    return wrap_connections(client, TimedStream)


class TimedStream(NetworkStream):
    """A connection of HTTP/1.1, on which a write after a read begins the next call."""

    def __init__(self, stream: NetworkStream) -> None:
        self._stream = stream
        self._left: float | None = None  # seconds of the call; None before its first byte
        self._has_read = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._has_read = True
        began = self._begin(timeout, ReadTimeout)
        received = self._stream.read(max_bytes, self._left)
        self._count(len(received), began, timeout)
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._has_read:
            self._has_read, self._left = False, None
        view = memoryview(buffer)
        for start in range(0, len(view), _SLICE):
            piece = bytes(view[start : start + _SLICE])
            began = self._begin(timeout, WriteTimeout)
            self._stream.write(piece, self._left)
            self._count(len(piece), began, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        return TimedStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _begin(self, timeout: float | None, error: type[Exception]) -> float:
        """Now; the call's end, where its time is over."""
        if self._left is None:
            self._left = timeout
        if self._left is not None and self._left <= 0:
            raise error(f"less than {SLOWEST_LINE:,} bytes a second for {timeout:g} s")
        return time.monotonic()

    def _count(self, moved: int, began: float, timeout: float | None) -> None:
        if self._left is not None and timeout is not None:
            self._left = min(timeout, self._left - (time.monotonic() - began) + moved / SLOWEST_LINE)
