"""Files and renames on a local disk that survive power loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is on the disk when the block ends; without room for it there is none."""
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_file(target: Path, temporary: Path, guard: Callable[[], None]) -> Iterator[BinaryIO]:
    """A file that appears whole or not at all: written as `temporary` beside it; `guard` may refuse to let it appear."""
    try:
        with durable_file(temporary) as file:
            yield file
        guard()
        temporary.replace(target)
        sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in the folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
