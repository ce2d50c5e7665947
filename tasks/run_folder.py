"""The run folder: where a run's bulk bytes live, at any fsspec URL. The only module that writes run files.

<runs url>/<job>/<key>[.generation]/
    chunks/00017/rows.arrows        the source rows as they were (Arrow stream)
    chunks/00017/lines.parquet      per row: custom_id, or why it was never posted
    chunks/00017/requests-1.jsonl   what attempt 1 posts
    chunks/00017/output-1.jsonl     what came back, byte for byte
    chunks/00017/errors-1.jsonl
    chunks/00017/enriched.parquet   the chunk's rows with their answers
    receipt.json
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from configs.errors import ConfigError, StorageError

_TEMPORARY = ".part"


def _always() -> None:
    return None


class RunFolder:
    """Files below one URL. A file appears under its name whole or not at all.

    `guard` is called right before a file appears and raises when this process may not write any more;
    `stamp` keeps the temporary files of two owners apart.
    """

    def __init__(self, url: str, *, guard: Callable[[], None] = _always, stamp: int = 0) -> None:
        self.url = url
        self._guard = guard
        self._stamp = stamp
        self._fs, path = fsspec.core.url_to_fs(url)
        self._root = PurePosixPath(path)
        self._local = isinstance(self._fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The full path of a file; ConfigError for a name that leaves the folder."""
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise ConfigError(f"{name}: is outside the run folder {self.url}")
        return str(self._root / parts)

    def exists(self, name: str) -> bool:
        """Whether the file is there, whole."""
        return bool(self._fs.exists(self.path(name)))

    def size(self, name: str) -> int:
        """Bytes."""
        return int(self._fs.size(self.path(name)))

    def names(self, below: str = "") -> tuple[str, ...]:
        """The files below a folder, sorted, temporary ones left out."""
        found = self._fs.find(self.path(below) if below else str(self._root))
        names = (str(PurePosixPath(path).relative_to(self._root)) for path in found)
        return tuple(sorted(name for name in names if not name.endswith(_TEMPORARY)))

    def holds(self, url: str) -> bool:
        """Whether that place is this folder or lies in it."""
        fs, path = fsspec.core.url_to_fs(url)
        return type(fs) is type(self._fs) and PurePosixPath(path).is_relative_to(self._root)

    def read(self, name: str) -> BinaryIO:
        """Open for reading; seekable."""
        if self._local:
            return cast(BinaryIO, Path(self.path(name)).open("rb"))
        return cast(BinaryIO, self._fs.open(self.path(name), "rb"))

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Write a file; on leaving the block it is durable under its name, on an exception it is not there."""
        path = self.path(name)
        try:
            with self._write_local(path) if self._local else self._write_remote(path) as file:
                yield file
        except OSError as error:
            raise StorageError(
                f"{path}: {error.strerror or error}; nothing is lost, make room or access and run the same command again"
            ) from error

    def remove(self, below: str) -> None:
        """Delete a file or a folder with all that is in it; what is not there is fine."""
        path = self.path(below)
        self._guard()
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)

    def sweep(self) -> None:
        """Delete what earlier owners left unfinished."""
        for path in self._fs.find(str(self._root)):
            if path.endswith(_TEMPORARY) and not path.endswith(self._suffix):
                self._fs.rm(path)

    @property
    def _suffix(self) -> str:
        return f".{self._stamp}{_TEMPORARY}"

    @contextmanager
    def _write_local(self, path: str) -> Iterator[BinaryIO]:
        target = Path(path)
        temporary = target.with_name(f".{target.name}{self._suffix}")
        _make_folder(target.parent)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self._guard()
            temporary.replace(target)
            _sync_folder(target.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def _write_remote(self, path: str) -> Iterator[BinaryIO]:
        file = self._fs.open(path, "wb")  # an object store shows nothing before close
        try:
            yield file
        except BaseException:
            discard = getattr(file, "discard", None)
            if discard:
                discard()
            raise
        self._guard()
        file.close()


def join(url: str, *parts: str) -> str:
    """A URL or path below another."""
    return "/".join((url.rstrip("/"), *parts))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"{folder}: a file is in the way of the run folder; move it or set NIGHTMAIL_RUNS_URL"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
