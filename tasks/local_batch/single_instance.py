"""One service per folder: the lock that sees to it, and the file that says where the running one listens."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

ADDRESS_FILE = "service.json"
_RETRY_SECONDS = 0.02


@dataclass(frozen=True)
class ServiceAddress:
    """Where a service listens (`url` has no path) and which process it is."""

    url: str
    pid: int


def lock_exclusively(path: Path, *, patience_seconds: float) -> int | None:
    """An exclusive lock on a file or folder, held until the descriptor is closed or the process ends.

    None when somebody else still has it after `patience_seconds`.
    """
    # flock rather than a file with a process id in it: the kernel gives it back after kill -9 and after a reboot.
    descriptor = os.open(path, os.O_RDONLY)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_RETRY_SECONDS)
        else:
            return descriptor


def write_address(folder: Path, address: ServiceAddress) -> None:
    """Write the address file, whole or not at all: whoever starts a run reads it at any moment."""
    part = folder / f"{ADDRESS_FILE}.{address.pid}"
    part.write_bytes(orjson.dumps({"url": address.url, "pid": address.pid}))
    part.rename(folder / ADDRESS_FILE)


def read_address(folder: Path) -> ServiceAddress | None:
    """The address of the latest service of that folder, which may be gone by now; None when there was none."""
    try:
        fields = orjson.loads((folder / ADDRESS_FILE).read_bytes())
        return ServiceAddress(str(fields["url"]), int(fields["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
