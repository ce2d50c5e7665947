"""Who holds a lease: a process, named so that another one on the same machine can tell that it died."""

from __future__ import annotations

import hashlib
import os
import socket
from datetime import datetime
from pathlib import Path

from tasks.ledger.records import RunRecord

_PROC = Path("/proc")


def current_owner() -> str:
    """`host/machine/pid/start`: unique over machines, reboots, containers and reused process ids."""
    return f"{socket.gethostname()}/{_machine()}/{os.getpid()}/{_started(os.getpid())}"


def owner_is_dead(owner: str) -> bool:
    """True when `owner` was a process of this machine that no longer runs; False when that cannot be told."""
    try:
        _, machine, pid, started = owner.rsplit("/", 3)
        return bool(started) and machine == _machine() and _started(int(pid)) != started
    except ValueError:
        return False


def is_held(run: RunRecord, now: datetime) -> bool:
    """Whether a process works on the run: its lease has not lapsed, and its owner is not known to be dead."""
    if run.lease_owner is None or run.lease_until is None or run.lease_until <= now:
        return False
    return not owner_is_dead(run.lease_owner)


def describe_owner(owner: str) -> str:
    """The owner for people: `process 123 on host`."""
    parts = owner.rsplit("/", 3)
    return f"process {parts[2]} on {parts[0]}" if len(parts) == 4 else owner


def _machine() -> str:
    """This boot and this process namespace: process ids mean the same to everyone with the same token."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return "unknown"
    return hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:8]


def _started(pid: int) -> str:
    """The process's start time in clock ticks since boot; empty when there is no such (live) process."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
