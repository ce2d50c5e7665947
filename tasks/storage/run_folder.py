"""Read and write the files of a run: its rows, requests and results, at any fsspec URL. Nothing else writes them.

<runs url>/<job>/<key>[@generation]/
    run.json                        whose folder it is, and the chunks as they were prepared
    chunks/00017/rows.arrows        the source rows as they were (Arrow stream)
    chunks/00017/lines.parquet      per row: custom_id, or why it was never posted
    chunks/00017/requests-1.jsonl   what attempt 1 posts
    chunks/00017/posting-1-1.json   what the ledger knows of attempt 1, posting 1
    chunks/00017/results-1-0.jsonl  what came back, byte for byte; a second file is -1
    chunks/00017/enriched.parquet   the chunk's rows with their answers
    unfinished/                     whole files, and folders of them, that the lease's holder has not adopted yet
    reuse.index                     where the job's answers are, if no later run has written another
    assets/00017/ROW-1.png          pictures and videos that came as answers
    receipt.json
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from fsspec.implementations.local import LocalFileSystem

from configs.errors import ConfigError, StorageError
from configs.private_files import PRIVATE, make_private_folder
from tasks.storage.atomic import atomic_file, sync_folder
from tasks.storage.multipart import abort_unfinished_uploads, atomic_object
from tasks.storage.temporary import nameless_file
from tasks.storage.urls import filesystem_of, one_line, redacted, storage_errors

_TEMPORARY = ".part"
UNFINISHED = "unfinished"
"""Holds what the lease's holder has not adopted yet."""
_READ_AHEAD = 8 << 20  # bytes of one request to a remote store
_BUFFER = 1 << 20
_ABSENT = "is not there; check NIGHTMAIL_RUNS_URL, or put it back"


def _no_guard() -> None:
    """For those who only read."""


class RunFolder:
    """The files below one URL. A file appears under its name whole or not at all.

    `guard` is called right before a file appears and raises when this process may not write any more;
    `stamp` keeps the temporary files of two owners apart.
    """

    def __init__(self, url: str, *, guard: Callable[[], None] = _no_guard, stamp: int = 0) -> None:
        self.url = url
        self._guard = guard
        self._stamp = stamp
        try:
            self._fs, path = filesystem_of(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{redacted(url)}: {one_line(error)}; correct NIGHTMAIL_RUNS_URL") from error
        self._root = PurePosixPath(path)
        self._local = isinstance(self._fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The full path of a file; ConfigError for a name that leaves the folder."""
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise ConfigError(f"{name}: is outside the run folder {self.url}")
        return str(self._root / parts)

    def below(self, name: str) -> RunFolder:
        """A folder in this one, to read from."""
        return RunFolder(join(self.url, name))

    def exists(self, name: str) -> bool:
        """Whether the file is there, whole."""
        with self._storage_errors(self.path(name)):
            return bool(self._fs.exists(self.path(name)))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in the folder, or no folder."""
        with self._storage_errors(str(self._root)):
            return not self._files(str(self._root))

    def size(self, name: str) -> int:
        """The size of a file in bytes."""
        with self._storage_errors(self.path(name)):
            return int(self._fs.size(self.path(name)))

    def names(self, below: str = "") -> tuple[str, ...]:
        """The files below a folder, sorted, temporary ones left out."""
        with self._storage_errors(self.path(below)):
            paths = self._files(self.path(below))
        names = (str(PurePosixPath(path).relative_to(self._root)) for path in paths)
        return tuple(sorted(name for name in names if not name.endswith(_TEMPORARY)))

    def matching(self, pattern: str) -> tuple[str, ...]:
        """The files whose name below the folder matches a pattern such as `*/*/run.json`."""
        with self._storage_errors(str(self._root)):
            return tuple(
                str(PurePosixPath(path).relative_to(self._root))
                for path in self._fs.glob(f"{self._root}/{pattern}")
            )

    def contains(self, url: str) -> bool:
        """Whether a path or URL is this folder, or lies in it."""
        fs, path = filesystem_of(url)
        return type(fs) is type(self._fs) and PurePosixPath(path).is_relative_to(self._root)

    def read(self, name: str) -> BinaryIO:
        """Open for reading from front to back; seekable, at the price of a request where it is remote."""
        path = self.path(name)
        with self._storage_errors(path):
            if self._local:
                return cast(BinaryIO, Path(path).open("rb"))
            raw = _RemoteFile(
                self._fs.open(path, "rb", block_size=_READ_AHEAD), lambda: self._storage_errors(path)
            )
        return cast(BinaryIO, io.BufferedReader(raw, _BUFFER))

    def read_if_there(self, name: str) -> BinaryIO:
        """The same as `read`; FileNotFoundError for a file that is not there."""
        if not self.exists(name):
            raise FileNotFoundError(name)
        return self.read(name)

    def read_local_copy(self, name: str) -> BinaryIO:
        """Open for reading in any order: a remote file is copied to this machine until it is closed."""
        if self._local:
            return self.read(name)
        with self._storage_errors(self.path(name)), self.read(name) as remote:
            copy = nameless_file()  # whoever reads it closes it
            shutil.copyfileobj(remote, copy, _BUFFER)
            copy.seek(0)
            return copy

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Write a file; on leaving the block it is durable under its name, on an exception it is not there."""
        path = self.path(name)
        remote = None if self._local else atomic_object(self._fs, path, self._guard)
        with self._storage_errors(path), remote or self._write_local(path) as file:
            yield file

    def temporary_name(self, name: str, token: str) -> str:
        """A name for a file, or a folder of files, that is not there until it is adopted; `token` is this writer's own.

        It carries this owner's stamp: the next owner deletes what was never adopted.
        """
        return f"{UNFINISHED}/{name.replace('/', '.')}.{token}{self._suffix}"

    def adopt(self, temporary: str, name: str) -> None:
        """Let a whole file appear under its name: a rename, or on an object store a copy that it makes by itself."""
        source, target = self.path(temporary), self.path(name)
        with self._storage_errors(source):
            if self._local:
                _make_folder(Path(target).parent)
                self._guard()
                Path(source).replace(target)
                sync_folder(Path(target).parent)
                return
            self._guard()
            self._fs.copy(source, target)
            self._fs.rm_file(source)

    def remove(self, below: str) -> None:
        """Delete a file or a folder with all that is in it; what is not there is fine."""
        path = self.path(below)
        self._guard()
        with self._storage_errors(path):
            if not self._local:
                abort_unfinished_uploads(self._fs, f"{path}/")
            if self._fs.exists(path):
                self._fs.rm(path, recursive=True)
            if not self._local and self._files(path):  # s3fs passes over what it may not delete
                raise PermissionError("cannot be deleted")

    def delete_unfinished(self) -> None:
        """Delete what earlier owners left unfinished; on S3 that also ends an upload one of them still makes."""
        with self._storage_errors(str(self._root)):
            if not self._local:
                abort_unfinished_uploads(self._fs, f"{self._root}/")
            # Of an object store one folder is listed: it has no other temporary files.
            for path in self._files(str(self._root) if self._local else self.path(UNFINISHED)):
                if self._is_of_others(PurePosixPath(path).relative_to(self._root).parts):
                    self._fs.rm(path)

    def _is_of_others(self, parts: tuple[str, ...]) -> bool:
        """Whether a path is that of a temporary file, or lies in a temporary folder, and neither is this owner's."""
        temporary = [part for part in parts if part.endswith(_TEMPORARY)]
        return bool(temporary) and not temporary[0].endswith(self._suffix)

    @property
    def _suffix(self) -> str:
        """The ending of this owner's own temporary files, which `delete_unfinished` spares."""
        return f".{self._stamp}{_TEMPORARY}"

    @contextmanager
    def _write_local(self, path: str) -> Iterator[BinaryIO]:
        target = Path(path)
        temporary = target.with_name(f".{target.name}{self._suffix}")
        _make_folder(target.parent)
        with atomic_file(target, temporary, self._guard, PRIVATE) as file:
            yield file

    def _files(self, path: str) -> list[str]:
        """Every file below; SeaweedFS also finds the folder itself, once it was there."""
        return [entry for entry in self._fs.find(path) if entry != path]

    def _display_path(self, path: str) -> str:
        return path if self._local else redacted(str(self._fs.unstrip_protocol(path)))

    def _storage_errors(self, path: str) -> AbstractContextManager[None]:
        """Whatever a disk or a store raises becomes one line that names the file."""
        return storage_errors(
            lambda: self._display_path(path), "nothing is lost", local=self._local, absent=_ABSENT
        )


class _RemoteFile(io.RawIOBase):
    """A remote file whose errors become StorageErrors, also in the middle of reading."""

    def __init__(self, file: Any, storage_errors: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._file = file
        self._storage_errors = storage_errors

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        with self._storage_errors():
            return int(self._file.readinto(target))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def join(url: str, *parts: str) -> str:
    """A URL or path below another."""
    return "/".join((url.rstrip("/"), *parts))


def _make_folder(folder: Path) -> None:
    try:
        make_private_folder(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"{folder}: a file is in the way of the run folder; move it or set NIGHTMAIL_RUNS_URL"
        ) from error
