"""Runs of the flow that stop themselves at a numbered side effect: killed (SIGKILL) or frozen (SIGSTOP).

A process of its own that has everything imported, forks for every order on stdin and answers on stdout:

    {"job": path, "folder": path, "environ": {...}, "how": "kill" | "freeze" | "count", "point": 17, "avoid": [...],
     "at": a pattern of the point's name, "given": {further parameters of the flow}, "deadline_seconds": since the run began,
     "range_rows": of a source's ranges, "last_range_waits": for the first batch to be posted}

The points are seams, so that new side effects join by themselves: every ledger transaction (before, after), every file
opened for writing, made durable, renamed, removed or folder made below `folder`, every HTTP request (before it is sent,
in the middle of its body, after the reply's head, in the middle of a download).

A batch is looked at once or twice, however slow the machine is: otherwise the number of points would depend on it.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpcore2
import httpx2
import openai.resources
import pandas as pd
import sqlalchemy.dialects.sqlite

import configs.deadline
import tasks.providers.openai.lane
import tasks.providers.openai.openai
from configs.errors import NightmailError
from flows.enrich import enrich
from tasks.ledger.transactions import Transactions
from tasks.runs import faults, lease, preparation, session
from tasks.stages import ranges
from tasks.stages.prompt.tokenizer import count_tokens, encoding_of

_FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_ENDED = ("completed", "failed", "expired", "cancelled")


class Points:
    """Counts side effects and strikes at one of them."""

    def __init__(
        self, strike_at: int | None, at: str, avoid: tuple[str, ...], strike: Callable[[str], None]
    ) -> None:
        self.seen: list[str] = []
        self._strike_at = strike_at
        self._at = at
        self._avoid = avoid
        self._strike = strike
        self.posted = threading.Event()
        self.writing = threading.RLock()  # held in a transaction of the ledger

    def reach(self, what: str) -> None:
        self.seen.append(what)
        if what == "reply to POST /v1/batches":
            self.posted.set()
        due = self._strike_at is not None and len(self.seen) > self._strike_at
        if due and re.match(self._at, what) and not what.startswith(self._avoid):
            self._strike_at = None
            self._strike(what)


def install(points: Points, folder: str, *, batches_hold: bool) -> None:
    """Hook the seams. Where batches hold, nobody waits here for the end of one that has answered a part."""
    _hook_ledger(points)
    _hook_http(points, batches_hold=batches_hold)
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        points.reach("fsync")
        real_fsync(descriptor)

    os.fsync = fsync

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = any(c in mode for c in "wax+") if isinstance(mode, str) else bool((flags or 0) & _WRITES)
            if writes and str(path).startswith(folder):
                points.reach(f"open {Path(str(path)).name}")
        elif event in _FILE_EVENTS and str(arguments[0]).startswith(folder):
            points.reach(f"{event} {Path(str(arguments[0])).name}")

    sys.addaudithook(audit)


def _hook_ledger(points: Points) -> None:
    real = Transactions.write

    @contextmanager
    def write(self: Transactions) -> Iterator[Any]:
        points.reach("before transaction")
        with points.writing, real(self) as connection:
            yield connection
            points.reach("before commit")
        points.reach("after commit")

    Transactions.write = write  # type: ignore[method-assign]


def _hook_ranges(points: Points) -> None:
    """The last range is recorded when a batch is posted, however fast it was prepared."""
    real = preparation._record

    def record(run: Any, before: Any, *more: Any) -> Any:
        if before.ranges_prepared == before.ranges - 1:
            assert points.posted.wait(60), "nothing is posted while ranges are prepared"
        points.reach("before a range is recorded")
        return real(run, before, *more)

    preparation._record = record


def _hook_http(points: Points, *, batches_hold: bool) -> None:
    real = httpx2.HTTPTransport.handle_request
    looked_at: set[str] = set()

    class Pieces(httpx2.SyncByteStream):
        def __init__(self, stream: Any, what: str) -> None:
            self._stream, self._what = stream, what

        def __iter__(self) -> Iterator[bytes]:
            for piece in self._stream:
                half = len(piece) // 2
                yield piece[:half]
                points.reach(f"inside the body of {self._what}")
                yield piece[half:]

        def close(self) -> None:
            close = getattr(self._stream, "close", None)
            if close:
                close()

    def ended(response: Any) -> bool:
        batch = json.loads(response.read()) if response.status_code == 200 else {"status": "failed"}
        holds = batches_hold and (batch.get("request_counts") or {}).get("completed")
        return bool(batch.get("status") in _ENDED or holds)

    def handle(self: Any, request: Any) -> Any:
        what = f"{request.method} {request.url.path}"
        points.reach(f"before {what}")
        if request.method == "POST":
            request.stream = Pieces(request.stream, what)
        response = real(self, request)
        if what.startswith("GET /v1/batches/"):
            while what in looked_at and not ended(response):
                time.sleep(0.02)
                response = real(self, request)
            looked_at.add(what)
        points.reach(f"reply to {what}")
        if what.endswith("/content"):
            response.stream = Pieces(response.stream, f"the reply to {what}")
        return response

    httpx2.HTTPTransport.handle_request = handle  # type: ignore[method-assign]


def replace(module: ModuleType, name: str, value: Any) -> None:
    """Set what the module has; a name that moved elsewhere is an error, not a new attribute that nothing reads."""
    assert hasattr(module, name), f"{module.__name__} has no {name}"
    setattr(module, name, value)


def obey(order: dict[str, Any]) -> int:
    """In the child: run the flow, stopping where told; the exit code of the command line."""
    os.environ.update(order["environ"])
    os.chdir(order["folder"])
    if "lease_seconds" in order:
        replace(lease, "LEASE_SECONDS", order["lease_seconds"])
        # A heartbeat could be frozen inside a transaction, and then nobody gets past SQLite's lock.
        replace(lease, "_RENEWALS_PER_LEASE", 1e-6)
    replace(faults, "fault_delay", lambda *_: timedelta(seconds=0.02))
    replace(session, "pause_length", lambda *_: timedelta(seconds=0.1))
    how = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}.get(order["how"])

    def strike(what: str) -> None:
        if how:
            Path(order["log"]).with_suffix(".struck").write_text(
                what
            )  # beside the folder: no point of its own
            # Frozen while another thread is inside a transaction, it would keep SQLite's lock, and nobody gets past that.
            with points.writing if how is signal.SIGSTOP else nullcontext():
                os.kill(os.getpid(), how)

    points = Points(order.get("point"), order.get("at", ""), tuple(order.get("avoid", ())), strike)
    if "deadline_seconds" in order:
        replace(configs.deadline, "seconds", lambda _: order["deadline_seconds"])
    replace(ranges, "RANGE_ROWS", order.get("range_rows", ranges.RANGE_ROWS))
    if order.get("last_range_waits"):
        _hook_ranges(points)
    install(points, order["folder"], batches_hold="deadline_seconds" in order)
    try:
        enrich.fn(order["job"], **{"key": "k", **order.get("given", {})})
        code = 0
    except NightmailError as error:
        Path(order["log"]).write_text(str(error))
        code = 3
    if order["how"] == "count":
        Path(order["log"]).write_text(json.dumps(points.seen))
    return code


def main() -> None:
    """Fork for every order; answer with the pid at once, and with the exit status for orders that say `wait`."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = obey(order)
            except BaseException:
                import traceback

                Path(order["log"]).write_text(traceback.format_exc())
            finally:
                os._exit(code)
        if order["how"] == "freeze":
            _, status = os.waitpid(child, os.WUNTRACED)
        else:
            _, status = os.waitpid(child, 0)
        ended = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        sys.stdout.write(json.dumps({"pid": child, "exit": ended, "stopped": os.WIFSTOPPED(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    used_later = (
        tasks.providers.openai.openai,
        tasks.providers.openai.lane,
        pd,
        httpcore2,
        openai.resources,
        sqlalchemy.dialects.sqlite,
    )
    assert all(used_later), "imported, so that a child does not spend its time on them"
    count_tokens("", encoding_of("m"))  # reads the vocabulary, for the same reason
    gc.freeze()  # a child's collections would copy all of it
    main()
