"""The answers of a running batch, appended to its output and error file as they come.

At the end of the batch the same bytes are its result files. A line that was cut by a crash is dropped on opening, so
its row is answered again; whole lines are never redone, because an upstream may charge for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from tasks.local_batch.protocol.batch_object import RequestCounts, TokenUsage
from tasks.local_batch.protocol.lines import (
    UNANSWERED_ERRORS,
    Answer,
    EarlyEnding,
    result_line,
    token_usage,
)

OUTPUT_NAME, ERRORS_NAME = "output.jsonl", "errors.jsonl"
# A crash of the machine (not of the process) loses at most this much work: syncing each answer to the disk would
# cost more than most answers do.
_SYNC_SECONDS: Final = 1.0
_ENDING_BY_CODE: Final = {code: ending for ending, (code, _) in UNANSWERED_ERRORS.items()}


class _BodyUsage(msgspec.Struct):
    usage: Any = None


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: str


class _ResultLine(msgspec.Struct):
    custom_id: str
    response: _Response | None
    error: _Error | None


class ResultLog:
    """The answers of one batch so far, read back from its folder on opening.

    `answered` holds the custom_ids that have a line. `ending` is set once rows were written as expired or cancelled:
    from then on the batch is ending early, whatever the clock or a fault says after a restart.
    """

    def __init__(self, folder: Path, batch_id: str) -> None:
        self.output = folder / OUTPUT_NAME
        self.errors = folder / ERRORS_NAME
        self.answered: set[str] = set()
        self.counts = RequestCounts()
        self.usage = TokenUsage()
        self.ending: EarlyEnding | None = None
        self._batch_id = batch_id
        self._synced_at = time.monotonic()
        self._descriptors = [self._reopen(self.output), self._reopen(self.errors)]

    def __enter__(self) -> ResultLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def append(self, answers: list[Answer]) -> None:
        """Append answers; when this returns, killing the process does not lose them."""
        succeeded: list[bytes] = []
        failed: list[bytes] = []
        for answer in answers:
            (succeeded if answer.succeeded else failed).append(result_line(self._batch_id, answer))
            self.answered.add(answer.custom_id)
            if answer.usage is not None:
                self.usage.add(answer.usage)
        self.counts.completed += len(succeeded)
        self.counts.failed += len(failed)
        for descriptor, lines in zip(self._descriptors, (succeeded, failed), strict=True):
            if lines:
                _write_all(descriptor, b"".join(lines))
        if time.monotonic() - self._synced_at > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Make everything appended so far survive a power loss."""
        for descriptor in self._descriptors:
            os.fsync(descriptor)
        self._synced_at = time.monotonic()

    def _reopen(self, path: Path) -> int:
        """Read the file up to its last whole line, cut off what is behind it, and open it for appending."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        whole_bytes = 0
        for line in _lines(path):
            if not self._recall(line):
                break
            whole_bytes += len(line)
        os.ftruncate(descriptor, whole_bytes)
        return descriptor

    def _recall(self, line: bytes) -> bool:
        """Count a line of an earlier process; False when it is damaged."""
        if not line.endswith(b"\n"):
            return False
        try:
            result = msgspec.json.decode(line, type=_ResultLine)
            if result.response is not None:
                self._recall_usage(result.response.body)
        except msgspec.DecodeError:
            return False
        self.answered.add(result.custom_id)
        if result.error is not None:
            self.ending = _ENDING_BY_CODE.get(result.error.code, self.ending)
        if result.response is not None and 200 <= result.response.status_code < 300:
            self.counts.completed += 1
        else:
            self.counts.failed += 1
        return True

    def _recall_usage(self, body: msgspec.Raw) -> None:
        try:
            usage = token_usage(msgspec.json.decode(body, type=_BodyUsage).usage)
        except msgspec.ValidationError:  # a body that is no object, as the fault `body_as_string` makes one
            return
        if usage is not None:
            self.usage.add(usage)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from stream


def _write_all(descriptor: int, data: bytes) -> None:
    """`os.write` may take only part of the data, as on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
