"""Files that the cells of a dataset name, read from folders that the job declares (`source.files.roots`) and from nowhere else.

A name is relative to the folder of the source or to a root, or an absolute path or URL below a root. Names come from data, which
anybody may have written: of a local name, all symbolic links are followed before it is compared with the roots, none when it is
opened, and only regular files are read; a remote one must be a root's URL followed by plain names.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from configs.errors import InputError
from tasks.storage.source_files import SourceFilesystem, source_filesystem
from tasks.storage.urls import is_file_absent, redacted, s3_error_code

KEY: Final = "source.files.roots"
"""Of the job file."""
# What says that this one name leads to no file, where others say that the disk is at fault.
_NO_FILE: Final = frozenset({errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENXIO})
# O_PATH: a folder that may be passed through need not be one that may be listed.
_FOLDER: Final = os.O_DIRECTORY | os.O_NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not wait for its writer
_FILE_URL: Final = re.compile(r"file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)
_WILDCARDS: Final = re.compile(r"[*?\[]")
_SHOWN: Final = 120  # characters of a name
_LONGEST: Final = 4096  # PATH_MAX; what is longer (a data URL) would be looked at folder by folder


FileCode = Literal["file_not_found", "file_not_allowed", "file_too_large", "file_unsupported"]


class FileRefused(Exception):
    """One file is not read; the message, on one line, names it and says why. `code` is its row's error code."""

    def __init__(
        self,
        code: FileCode,
        message: str,
    ) -> None:
        super().__init__(message)
        self.code = code


class _Place(NamedTuple):
    """A folder or file; of this machine, it is a path without symbolic links."""

    storage: SourceFilesystem
    path: str

    @property
    def is_local(self) -> bool:
        return self.storage.local

    def holds(self, other: _Place) -> bool:
        """Whether the other one lies below this folder."""
        if self.is_local != other.is_local or not (self.is_local or self.storage.fs == other.storage.fs):
            return False
        return other.path.startswith(self.path.rstrip("/") + "/")

    def below(self, name: str) -> _Place | None:
        """What a relative name means in this folder; None where it cannot mean anything."""
        if self.is_local:
            return _Place(self.storage, os.path.realpath(Path(self.path) / name))
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            return None
        return _Place(self.storage, f"{self.path.rstrip('/')}/{name}")


class FileRoots:
    """The declared folders. InputError for one that is not there, or that cannot be asked."""

    def __init__(self, roots: Sequence[str], source: str, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._roots = [_root(url) for url in roots]
        self._bases = [*_near(source, self._roots), *self._roots]

    def read(self, name: str) -> bytes:
        """The content of the file of that name. FileRefused where it is not to be read, InputError where its storage fails."""
        shown = repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
        found = [(root, place) for place in self._places(name) if (root := self._root_of(place))]
        for root, place in found:
            content = self._content(root, place, shown)
            if content is not None:
                return content
        if found:
            hint = "; write / between folders" if "\\" in name else ""
            raise FileRefused("file_not_found", f"{shown} is in no folder of {KEY}{hint}")
        raise FileRefused("file_not_allowed", f"{shown} is outside of the folders in {KEY}{_hint(name)}")

    def _root_of(self, place: _Place) -> _Place | None:
        return next((root for root in self._roots if root.holds(place)), None)

    def _places(self, name: str) -> Iterator[_Place]:
        """Where a file of that name may be."""
        if url := _FILE_URL.match(name):
            name = unquote(name[url.end() :])
        if name[:5].lower() in ("file:", "data:"):
            return
        if len(name) > _LONGEST or "\0" in name or not _is_text(name):
            return
        if "://" in name:
            yield from self._remote(name)
            return
        for base in self._bases:
            if name.startswith("/") and not base.is_local:
                continue
            place = base.below(name)
            if place is not None:
                yield place

    def _remote(self, url: str) -> Iterator[_Place]:
        """The same of a URL: what follows a root's."""
        scheme, _, rest = url.partition("://")
        for root in self._roots:
            protocols = root.storage.fs.protocol
            known = (protocols,) if isinstance(protocols, str) else protocols
            beginning = root.path.strip("/") + "/"
            if not root.is_local and scheme in known and rest.lstrip("/").startswith(beginning):
                place = root.below(rest.lstrip("/").removeprefix(beginning))
                if place is not None:
                    yield place

    def _content(self, root: _Place, place: _Place, shown: str) -> bytes | None:
        """Up to `max_bytes` of a file below the root; None where there is no file."""
        try:
            with place.storage.input_errors(place.path):
                content = self._local(root.path, place.path) if place.is_local else self._far(place)
        except InputError as error:
            if _is_absent(error.__cause__):
                return None
            if not _is_denied(error.__cause__):
                raise
            raise FileRefused(
                "file_not_allowed", f"{shown} may not be read; check its permissions"
            ) from error
        if len(content) > self.max_bytes:
            raise FileRefused(
                "file_too_large",
                f"{shown} is larger than {self.max_bytes:,} bytes; make it smaller, or raise source.files.max_bytes",
            )
        return content

    def _local(self, root: str, path: str) -> bytes:
        with os.fdopen(_opened_below(root, path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileNotFoundError(errno.ENOENT, "no regular file", path)
            return file.read(self.max_bytes + 1)

    def _far(self, place: _Place) -> bytes:
        try:
            content: bytes = place.storage.fs.cat_file(place.path, start=0, end=self.max_bytes + 1)
        except OSError as error:
            if s3_error_code(error.__cause__) == "InvalidRange":  # of an empty object
                return b""
            raise
        return content


def _opened_below(root: str, path: str) -> int:
    """A descriptor of the file. Each folder is opened in the one before it: the path had no link in it when it was compared with
    the roots, and one that was put there since is not followed."""
    *folders, name = os.path.relpath(path, root).split("/")
    folder = os.open(root, _FOLDER)
    try:
        for each in folders:
            outer, folder = folder, os.open(each, _FOLDER, dir_fd=folder)
            os.close(outer)
        return os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _root(url: str) -> _Place:
    place = _place(url)
    if not place.path.strip("/"):
        raise InputError(
            f"{KEY}: {redacted(url)} holds all that there is, and rows could name any of it; list the folders of the files"
        )
    with place.storage.input_errors(place.path, "be listed"):
        is_folder = place.storage.fs.isdir(place.path)
    if not is_folder:
        raise InputError(f"{KEY}: {place.storage.display_path(place.path)} is no folder; correct it")
    return place


def _place(url: str) -> _Place:
    storage, path = source_filesystem(url, KEY)
    return _Place(storage, os.path.realpath(path) if storage.local else path)


def _near(source: str, roots: Sequence[_Place]) -> list[_Place]:
    """The folder of a source, where a root may lie in it or around it: of a file the one it lies in, of a pattern what comes before
    its first wildcard."""
    fixed = _WILDCARDS.split(source, maxsplit=1)[0]
    storage, path = source_filesystem(fixed)
    if not any(root.storage.fs == storage.fs for root in roots):
        return []  # a web server, for one, is not to be asked for a folder
    with storage.input_errors(path, "be listed"):
        is_folder = fixed == source and storage.fs.isdir(path)
    return [_place(fixed if is_folder else fixed.rpartition("/")[0])]


def _is_absent(error: BaseException | None) -> bool:
    """Whether there is no such file, and nothing wrong with where it would be."""
    if isinstance(error, FileNotFoundError):
        return is_file_absent(error)
    return isinstance(error, OSError) and error.errno in _NO_FILE


def _is_denied(error: BaseException | None) -> bool:
    """Whether this file may not be read; credentials that have expired say nothing of it."""
    return isinstance(error, PermissionError) and s3_error_code(error.__cause__) in (
        "",
        "AccessDenied",
        "403",
    )


def _is_text(name: str) -> bool:
    """Whether it is no half of a character, as JSON can hold."""
    return name.encode(errors="replace").decode() == name


def _hint(name: str) -> str:
    is_address = name[:5].lower() in ("http:", "https", "data:")
    return "; write {type: image_url, image_url: {url: ...}} for addresses" if is_address else ""
