"""A folder of Parquet parts on a local disk, replaced as a whole.

The new folder is written beside its place. Then the old one is renamed away and the new one to its place: one rename
shows all of it, so a reader never sees half a run, as one would in a folder that is filled or emptied file by file.
What is not ours goes away with the old folder and is moved back right after. A publication that was killed leaves
`.NAME.RUN.old`, which holds the only copy of such files: the next one moves them back before it does anything else.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from configs.errors import LeaseLost
from tasks.storage.atomic import durable_file, sync_folder
from tasks.storage.object_output import ASSETS, RECEIPT, is_ours


class LocalFolder:
    """The folder `place`, to be replaced by the run `run_id`."""

    def __init__(self, place: Path, run_id: str, guard: Callable[[], None]) -> None:
        self._place = place.resolve()  # a link is followed: what is renamed is the folder behind it
        self._guard = guard
        self._old, self._staging = (
            self._place.with_name(f".{self._place.name}.{run_id}.{what}") for what in ("old", "new")
        )

    def begin(self) -> Path:
        """Put right what killed publications left, of this run and of others; an empty folder to write the new one in."""
        for old in leftovers(self._place):
            self._guard()
            _put_back(old, self._place)
        self._guard()
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        try:
            self._guard()
        except LeaseLost:  # while this process stood still: who has the run now may be done with that folder
            self._staging.rmdir()
            raise
        return self._staging

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """A file of the new folder; LeaseLost rather than one that its next owner has not made."""
        self._guard()
        with durable_file(self._staging / name) as file:
            yield file

    def publish(self) -> None:
        """Let what was written appear."""
        self._guard()
        sync_folder(self._staging)
        if self._place.exists():
            _refuse_immovable(self._place)
            self._place.rename(self._old)
        try:
            self._staging.rename(self._place)
            sync_folder(self._place.parent)
        finally:  # also when somebody made a folder of that name meanwhile: then the old output is put back
            _put_back(self._old, self._place)


def leftovers(place: Path) -> list[Path]:
    """Old folders of publications that did not come to their end; `.NAME.RUN.old`, and no run has a dot in its id."""
    place = place.resolve()
    name = re.compile(re.escape(f".{place.name}.") + r"\w+\.old")
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(
            path for path in place.parent.iterdir() if name.fullmatch(path.name) and _is_folder(path)
        )
    return []


def _put_back(old: Path, place: Path) -> None:
    """Move what is in `old` to `place`, but what is ours and was replaced: that is deleted.

    Ours was replaced when the place has a receipt. An old folder loses its own first: without one it is half deleted.
    """
    whole = (old / RECEIPT).exists()
    with suppress(FileNotFoundError):  # there was none, or another run's publication has just put it right
        if whole and not os.path.lexists(place):
            old.rename(place)
        elif old.exists():
            place.mkdir(exist_ok=True)
            replaced = not whole or (place / RECEIPT).exists()
            if replaced:
                _delete(old / RECEIPT)
            _empty(old, place, replaced=replaced)
            sync_folder(place)


def _empty(old: Path, place: Path, below: str = "", *, replaced: bool) -> None:
    """As `_put_back`, for the folder `below` the top one. The receipt goes last: it tells how to go on when killed."""
    for entry in sorted(old.iterdir(), key=lambda entry: entry.name == RECEIPT):
        name, target = below + entry.name, place / entry.name
        if _is_folder(entry) and replaced and name.partition("/")[0] == ASSETS:
            _empty(entry, target, f"{name}/", replaced=True)
        elif _is_folder(entry) and _is_folder(target):
            # Made anew meanwhile, perhaps as the output of another job.
            _empty(entry, target, replaced=(entry / RECEIPT).exists() and (target / RECEIPT).exists())
        elif replaced and not _is_folder(entry) and is_ours(name):
            _delete(entry)
        else:
            _move(entry, target)
    with suppress(OSError):
        old.rmdir()


def _delete(file: Path) -> None:
    with suppress(OSError):  # what cannot be deleted is no reason to fail: the new output is there
        file.unlink()


def _move(entry: Path, target: Path) -> None:
    """Give a file or folder its place again; beside what somebody has put there meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    numbered = (target.with_name(f"{target.name}.{number}") for number in count(1))
    while os.path.lexists(target):
        target = next(numbered)
    entry.rename(target)


def _refuse_immovable(place: Path) -> None:
    """OSError when something that is not ours could be renamed away with the folder, but not be moved back."""
    for entry in place.iterdir():
        if _is_folder(entry) and (os.path.ismount(entry) or not os.access(entry, os.W_OK)):
            raise OSError(errno.EACCES, f"the folder {entry.name} in it cannot be moved")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
