"""HTTP clients whose connections are wrapped: what a connection does beyond carrying bytes is added beneath TLS and proxies.

httpx2 has no other way to the socket: a transport of one's own would switch off the environment's proxies, and reading the
headers of a reply is one call to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import httpx2
from httpcore2 import NetworkBackend, NetworkStream

Client = TypeVar("Client", bound=httpx2.Client)
Wrap = Callable[[NetworkStream], NetworkStream]


def wrap_connections(client: Client, wrap: Wrap) -> Client:
    """The same client: each connection that it opens is what `wrap` makes of it; also those through a proxy of the environment."""
    transports: tuple[Any, ...] = (client._transport, *client._mounts.values())
    for transport in transports:
        if transport is not None:  # None is for hosts without a proxy
            pool = transport._pool
            pool._network_backend = _Backend(pool._network_backend, wrap)
    return client


class _Backend(NetworkBackend):
    def __init__(self, backend: NetworkBackend, wrap: Wrap) -> None:
        self._backend = backend
        self._wrap = wrap

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        return self._wrap(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> NetworkStream:
        return self._wrap(self._backend.connect_unix_socket(path, timeout, socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
