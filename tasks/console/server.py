"""Serve the console over HTTP, on loopback, until it is told to stop."""

from __future__ import annotations

import importlib
import socket
import threading

from configs.errors import ConfigError
from tasks.console.app import build_app
from tasks.console.context import Console
from tasks.console.guard import LOOPBACK
from tasks.webhooks import server


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError for an address that other machines reach, and for a port that is taken."""
    if host not in LOOPBACK:
        raise ConfigError(
            f"--host {host}: the console shows rows and answers to whoever reaches it, so it listens on 127.0.0.1,"
            " ::1 or localhost alone; from elsewhere: ssh -L 8500:127.0.0.1:8500 HOST"
        )
    return server.listen(host, port)


def serve(console: Console, listener: socket.socket) -> None:
    """Answer until SIGTERM or Ctrl-C."""
    # It takes half a second, which would be the first one's who opens Statistics.
    threading.Thread(target=importlib.import_module, args=("pandas",), daemon=True).start()
    server.serve(build_app(console), listener)
