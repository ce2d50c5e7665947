"""A service's claim on its folder: one service per folder, and where to find it."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

SERVICE_FILE = "service.json"


@dataclass(frozen=True)
class Announcement:
    """What a running service writes down; `url` has no path."""

    url: str
    pid: int


def claim(path: Path, *, patience_seconds: float) -> int | None:
    """An exclusive lock on a file or folder, held until the handle is closed or the process ends.

    None when somebody else still has it after `patience_seconds`.
    """
    handle = os.open(path, os.O_RDONLY)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                os.close(handle)
                return None
            time.sleep(0.02)
        else:
            return handle


def announce(folder: Path, announcement: Announcement) -> None:
    """Write service.json, whole or not at all."""
    part = folder / f"{SERVICE_FILE}.{announcement.pid}"
    part.write_bytes(orjson.dumps({"url": announcement.url, "pid": announcement.pid}))
    part.rename(folder / SERVICE_FILE)


def announced(folder: Path) -> Announcement | None:
    """What service.json says; the service may be gone by now."""
    try:
        data = orjson.loads((folder / SERVICE_FILE).read_bytes())
        return Announcement(str(data["url"]), int(data["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
