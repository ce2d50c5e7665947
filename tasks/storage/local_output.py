"""Publish a folder of Parquet parts on a local disk: the whole folder is replaced by renaming.

The new folder is written beside the published one. Then the old one is renamed away and the new one to its place: one
rename shows all of it, so a reader never sees half a run, as one would in a folder that is filled or emptied file by
file. Files of others that lay in the old folder are moved back right after. A publication that was killed leaves
`.NAME.RUN_FENCE.old`, which holds the only copy of such files: the next one moves them back before it does anything else.
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

from tasks.storage.atomic import durable_file, sync_folder
from tasks.storage.object_output import ASSETS, RECEIPT, is_nightmail_file


class LocalOutputFolder:
    """The output folder `path`, to be replaced by the run `run_id`; its lease's `fence` keeps two owners of it apart.

    `guard` raises LeaseLost once another process has taken the run over; it is asked before every step that shows.
    """

    def __init__(self, path: Path, run_id: str, fence: int, guard: Callable[[], None]) -> None:
        self._path = path.resolve()  # a link is followed: what is renamed is the folder behind it
        self._guard = guard
        self._old, self._staging = (
            self._path.with_name(f".{self._path.name}.{run_id}_{fence}.{suffix}") for suffix in ("old", "new")
        )
        self._run_id, self._fence = run_id, fence

    def begin(self) -> Path:
        """Finish what killed publications left, of this run and of others; an empty folder to write the new one in."""
        for old in interrupted_publications(self._path):
            self._guard()
            _restore_foreign_files(old, self._path)
        self._guard()
        delete_temporaries(self._path.parent, self._run_id, self._fence)
        self._staging.mkdir(parents=True)
        return self._staging

    def discard(self) -> None:
        """Delete what was written of the new folder: a publication that failed."""
        shutil.rmtree(self._staging, ignore_errors=True)

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """A file of the new folder; LeaseLost rather than one that its next owner has not made."""
        self._guard()
        with durable_file(self._staging / name) as file:
            yield file

    def publish(self) -> None:
        """Put the new folder in place of the old one, and the files of others back into it."""
        self._guard()
        sync_folder(self._staging)
        if self._path.exists():
            _refuse_immovable(self._path)
            self._path.rename(self._old)
        try:
            self._staging.rename(self._path)
            sync_folder(self._path.parent)
        finally:  # also when somebody made a folder of that name meanwhile: then the old output is put back
            _restore_foreign_files(self._old, self._path)


def delete_temporaries(folder: Path, run_id: str, fence: int) -> None:
    """Delete what this run's earlier owners, and this one, left half-written in the folder."""
    pattern = re.compile(rf"\..+\.{re.escape(run_id)}(_(?P<fence>\d+))?\.new")
    with suppress(FileNotFoundError):
        for entry in folder.iterdir():
            found = pattern.fullmatch(entry.name)
            if found and int(found["fence"] or 0) <= fence:
                if _is_folder(entry):
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    _delete(entry)


def interrupted_publications(path: Path) -> list[Path]:
    """Old folders of publications to `path` that did not come to their end.

    They are called `.NAME.RUN_FENCE.old`, and no run has a dot in its id: an output called NAME.x is never mistaken for one.
    """
    path = path.resolve()
    name = re.compile(re.escape(f".{path.name}.") + r"\w+\.old")
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(
            entry for entry in path.parent.iterdir() if name.fullmatch(entry.name) and _is_folder(entry)
        )
    return []


def _restore_foreign_files(old: Path, published: Path) -> None:
    """Move what is in the old folder to the published one, but Nightmail's own files that were replaced: delete those.

    They were replaced when the published folder has a receipt. The receipt of an old folder is the first of its files
    to be deleted: an old folder without one is half deleted, so what else is Nightmail's in it was replaced, too.
    """
    whole = (old / RECEIPT).exists()
    with suppress(FileNotFoundError):  # there was none, or another run's publication has just put it right
        if whole and not os.path.lexists(published):
            old.rename(published)
        elif old.exists():
            published.mkdir(exist_ok=True)
            replaced = not whole or (published / RECEIPT).exists()
            if replaced:
                _delete(old / RECEIPT)
            _move_contents(old, published, replaced=replaced)
            sync_folder(published)


def _move_contents(old: Path, target: Path, below: str = "", *, replaced: bool) -> None:
    """Move or delete the entries of `old`, which lies at the path `below` in the output folder; then remove it.

    The receipt goes last: it tells how to go on when this is killed.
    """
    for entry in sorted(old.iterdir(), key=lambda entry: entry.name == RECEIPT):
        name, destination = below + entry.name, target / entry.name
        if _is_folder(entry) and replaced and name.partition("/")[0] == ASSETS:
            _move_contents(entry, destination, f"{name}/", replaced=True)
        elif _is_folder(entry) and _is_folder(destination):
            # Made anew meanwhile, perhaps as the output of another job.
            both_published = (entry / RECEIPT).exists() and (destination / RECEIPT).exists()
            _move_contents(entry, destination, replaced=both_published)
        elif replaced and not _is_folder(entry) and is_nightmail_file(name):
            _delete(entry)
        else:
            _move(entry, destination)
    with suppress(OSError):  # not empty: somebody has put something there, or a file could not be deleted
        old.rmdir()


def _delete(file: Path) -> None:
    with suppress(OSError):  # what cannot be deleted is no reason to fail: the new output is there
        file.unlink()


def _move(entry: Path, target: Path) -> None:
    """Move a file or folder to its path; to a numbered name beside it where somebody has put something meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    numbered = (target.with_name(f"{target.name}.{number}") for number in count(1))
    while os.path.lexists(target):
        target = next(numbered)
    entry.rename(target)


def _refuse_immovable(folder: Path) -> None:
    """OSError when something in the folder could be renamed away with it, but not be moved back by itself."""
    for entry in folder.iterdir():
        if _is_folder(entry) and (os.path.ismount(entry) or not os.access(entry, os.W_OK)):
            raise OSError(errno.EACCES, f"the folder {entry.name} in it cannot be moved")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
