"""The answers of a running batch, appended as they come; at the end, the same bytes are its result files.

A line that was cut by a crash is dropped on opening, so its row is answered again; whole lines are never redone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from tasks.local_batch.protocol.batch_object import Counts, Usage
from tasks.local_batch.protocol.lines import UNDONE, Answer, line_of, usage_of

_SYNC_SECONDS = 1.0  # a crash of the machine (not of the process) loses at most this much work

_ENDINGS = {code: ending for ending, (code, _) in UNDONE.items()}


class _Body(msgspec.Struct):
    usage: Any = None


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: str


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None
    error: _Error | None


class Journal:
    """`done` holds the custom_ids that have a line; `ending` is set once rows were written off: the batch ended early."""

    def __init__(self, folder: Path, batch_id: str) -> None:
        self.output = folder / "output.jsonl"
        self.errors = folder / "errors.jsonl"
        self.done: set[str] = set()
        self.counts = Counts()
        self.usage = Usage()
        self.ending: str | None = None
        self._batch_id = batch_id
        self._synced = time.monotonic()
        self._files = [self._reopen(self.output), self._reopen(self.errors)]

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._files:
            os.close(handle)

    def keep(self, answers: list[Answer]) -> None:
        """Append answers; when this returns, killing the process does not lose them."""
        good: list[bytes] = []
        bad: list[bytes] = []
        for answer in answers:
            (good if answer.succeeded else bad).append(line_of(self._batch_id, answer))
            self.done.add(answer.custom_id)
            if answer.usage is not None:
                self.usage.add(answer.usage)
        self.counts.completed += len(good)
        self.counts.failed += len(bad)
        for handle, lines in zip(self._files, (good, bad), strict=True):
            if lines:
                _write(handle, b"".join(lines))
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Make everything kept so far survive a power loss."""
        for handle in self._files:
            os.fsync(handle)
        self._synced = time.monotonic()

    def _reopen(self, path: Path) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        whole = 0
        for line in _lines(path):
            if not self._recall(line):
                break
            whole += len(line)
        os.ftruncate(handle, whole)
        return handle

    def _recall(self, line: bytes) -> bool:
        if not line.endswith(b"\n"):
            return False
        try:
            known = msgspec.json.decode(line, type=_Line)
            if known.response is not None:
                self._recall_usage(known.response.body)
        except msgspec.DecodeError:
            return False
        self.done.add(known.custom_id)
        if known.error is not None:
            self.ending = _ENDINGS.get(known.error.code, self.ending)
        if known.response is not None and 200 <= known.response.status_code < 300:
            self.counts.completed += 1
        else:
            self.counts.failed += 1
        return True

    def _recall_usage(self, body: msgspec.Raw) -> None:
        try:
            tokens = usage_of(msgspec.json.decode(body, type=_Body).usage)
        except msgspec.ValidationError:
            return
        if tokens is not None:
            self.usage.add(tokens)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from stream


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
