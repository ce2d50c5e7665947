"""HTTP clients whose replies are lost: what a fault of the network does to a call, brought about on purpose (for `doctor`)."""

from __future__ import annotations

from typing import Any

from httpcore2 import NetworkStream, ReadError

from tasks.providers.connections import Client, wrap_connections


def losing_replies(client: Client, *, is_https: bool) -> Client:
    """The same client: it sends each request whole, and closes the connection when the reply begins to arrive.

    Not sooner: some services drop what they are asked when they see the connection go, and then there is no reply to
    lose. With `is_https`, what is read before TLS begins is a proxy's, and arrives.
    """
    return wrap_connections(client, lambda stream: _Stream(stream, loses=not is_https))


class _Stream(NetworkStream):
    """A connection that, if it `loses`, breaks with the first bytes of a reply."""

    def __init__(self, stream: NetworkStream, *, loses: bool) -> None:
        self._stream = stream
        self._loses = loses

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        received = self._stream.read(max_bytes, timeout)
        if not self._loses:
            return received
        self._stream.close()
        raise ReadError("closed on purpose, with the reply unread")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), loses=True)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
