"""Write and rename files on a local disk so that they survive power loss, and are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def durable_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file that is on the disk when the block ends; when the disk fails or is full, there is none.

    `mode` is who may read it once it is there, less what the umask forbids.
    """
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # half a file would take up the room that somebody has to make
        path.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_file(
    target: Path, temporary: Path, guard: Callable[[], None], mode: int = 0o666
) -> Iterator[BinaryIO]:
    """A file that appears when the block ends, whole or not at all.

    Written as `temporary`, which must be on the same filesystem: a rename is atomic only there. `guard` is called right
    before it appears, and raises when this process may not write any more.
    """
    try:
        with durable_file(temporary, mode) as file:
            yield file
        guard()
        temporary.replace(target)
        sync_folder(target.parent)
    except BaseException:  # also KeyboardInterrupt: nobody would look for the temporary file again
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in the folder survive power loss: names are the folder's data, not the file's."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
