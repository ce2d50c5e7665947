"""Serve an application over HTTP until it is told to stop."""

from __future__ import annotations

import errno
import signal
import socket
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from configs.errors import ConfigError

_BACKLOG = 128
_STOP_SECONDS = 2  # for downloads under way


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError for a port that is taken, and a host that is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"--host {host}: {error.strerror}; give an address of this machine") from error
        raise ConfigError(
            f"--port {port}: {error.strerror}; choose another one, 0 for any free one"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def address_of(listener: socket.socket) -> str:
    """`http://127.0.0.1:8500`."""
    address, port, *_ = listener.getsockname()
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answer until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn's own handlers come later, and raise what they had again when it has ended: this one takes both.
    before = signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)
