"""Free ports on loopback."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def free_ports(count: int) -> int:
    """The first of some neighbouring ports that are free, also 10,000 higher, where SeaweedFS speaks gRPC."""
    for _ in range(50):
        first = random.randrange(20_000, 50_000)
        try:
            for port in [*range(first, first + count), *range(first + 10_000, first + 10_000 + count)]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")
