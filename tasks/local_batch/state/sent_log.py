"""The rows of a running batch that were sent to an upstream which charges, each noted before its call.

After a crash, a row that is noted here and has no answer may have been answered and paid for.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from tasks.storage.atomic import sync_folder

NAME: Final = "sent.jsonl"


class SentLog:
    """The notes of one batch, in its folder. `before` holds the custom_ids that were noted when it was opened."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor: int | None = None
        self.before = frozenset(_noted(self._path.read_bytes()) if self._path.exists() else ())

    def __enter__(self) -> SentLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    async def add(self, custom_id: str) -> None:
        """Note a row; when this returns, neither a killed process nor a power loss forgets it."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            sync_folder(self._path.parent)
        # A line of its own also behind one that a full disk has cut.
        note = b"\n%b\n" % msgspec.json.encode(custom_id)
        if os.write(self._descriptor, note) < len(note):
            raise OSError(f"{self._path}: the disk is full")
        await asyncio.to_thread(os.fsync, self._descriptor)


def _noted(notes: bytes) -> list[str]:
    """The custom_ids; a line that is not whole was written before a call that was never made."""
    found = []
    for line in notes.split(b"\n"):
        try:
            found.append(msgspec.json.decode(line, type=str))
        except msgspec.DecodeError:
            continue
    return found
