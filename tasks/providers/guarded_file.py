"""A file that is read, to be sent, only while this process may act: an upload takes minutes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

_BLOCK = 1 << 20


def guarded(file: BinaryIO, guard: Callable[[], None]) -> BinaryIO:
    """The same file; each block of it that is read calls `guard` first, and raises what that raises."""
    return cast(BinaryIO, io.BufferedReader(_Guarded(file, guard), _BLOCK))


class _Guarded(io.RawIOBase):
    def __init__(self, file: Any, guard: Callable[[], None]) -> None:
        super().__init__()
        self._file, self._guard = file, guard

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        self._guard()
        return int(self._file.readinto(target))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())
