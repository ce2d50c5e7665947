"""One publication at a time to an output on a disk: a file beside it, `.NAME.publishing`, that its process keeps locked.

The lock goes with its process, however that ends; the file says whose it is. Whoever finds it unlocked takes it over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.errors import StorageError

_TRIES = 100  # each follows a file that somebody has just removed
_MOST_BYTES = 1000


@contextmanager
def only_publication(output: Path, job: str, run_id: str) -> Iterator[None]:
    """Hold the output's lock; StorageError that names the run that has it. A filesystem without locks has none to hold.

    An earlier process of this very run, frozen and overtaken, is passed by: the lease keeps it from publishing.
    """
    output = output.resolve()
    path = output.with_name(f".{output.name}.publishing")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, f"run {run_id} of the job {job!r}")
    try:
        yield
    finally:
        try:
            if _is_at(path, descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _lock(path: Path, owner: str) -> int:
    """The descriptor of the file at `path`, locked and naming the owner."""
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _take_over(path, descriptor, owner):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise _refusal("")


def _take_over(path: Path, descriptor: int, owner: str) -> bool:
    """Whether the open file is ours now; False when another one has to be opened, StorageError when it is another run's."""
    if _take(descriptor):
        if not _is_at(path, descriptor):
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode(), 0)
        return True
    holder = os.pread(descriptor, _MOST_BYTES, 0).decode(errors="replace")
    if holder != owner:
        raise _refusal(holder)
    if _is_at(path, descriptor):
        path.unlink(missing_ok=True)
    return False


def _take(descriptor: int) -> bool:
    """Whether the lock is ours now, or the filesystem knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _refusal(holder: str) -> StorageError:
    return StorageError(
        f"output.path: {holder or 'another run'} is publishing there now; every answer is kept, run the same command again"
        " to replace its output, or choose another path"
    )
