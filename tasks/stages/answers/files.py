"""Files that come as answers: out of data URLs, named so that no name leaves its folder or meets another."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from tasks.stages import arrow_columns
from tasks.storage.prefetch import map_in_threads

VIDEO: Final = pa.struct(
    [
        ("id", pa.string()),
        ("status", pa.string()),
        ("file", pa.string()),
        ("seconds", pa.string()),
        ("size", pa.string()),
        ("expires_at", pa.int64()),
    ]
)
"""A video: what the provider says of it (`expires_at` in unix seconds), and the path of its file where there is one."""


class Files(Protocol):
    """Where one chunk's files are kept; paths are those that the output shall hold."""

    def keep(self, name: str, data: bytes) -> str:
        """Keep a file under a name; its path."""

    def find(self, name: str) -> str | None:
        """The path of a file that is kept already."""


_AT_ONCE = 8  # files being written: a disk's sync and a store's reply are waited for, not computed
# Lower case alone: some file systems take A and a for one name.
_PLAIN_ID = re.compile(r"[a-z0-9_-]{1,64}")
_MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"\s*<(\?xml|svg)"), "svg"),
)


def asset_name(custom_id: str, number: int, ending: str) -> str:
    """A file name of its own for the `number`th file (from 1) of a row, whatever characters its id has."""
    stem = custom_id
    if not _PLAIN_ID.fullmatch(custom_id):
        readable = re.sub(r"[^a-z0-9_-]+", "-", custom_id.lower())[:32]
        stem = f"{readable}-{hashlib.blake2b(custom_id.encode(), digest_size=10).hexdigest()}"
    return f"{stem}-{number}.{ending}"


@dataclass(frozen=True)
class Images:
    """Pictures, as a list of URLs: what a data URL holds is kept as a file, any other URL stays as it is.

    A few rows' pictures are in memory at a time, beside the text they come in. `several`: the column holds lists.
    """

    files: Files
    several: bool

    @property
    def wire(self) -> pa.DataType:
        """URLs."""
        return pa.list_(pa.string())

    @property
    def column(self) -> pa.DataType:
        """A path or URL, or a list of them."""
        return self.wire if self.several else pa.string()

    def fit(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        """Paths in place of data URLs."""
        rows = [at for at, there in enumerate(answers.is_valid().to_pylist()) if there]
        found: list[list[str] | None] = [None] * len(answers)
        problems: dict[int, str] = {}
        kept = map_in_threads(lambda at: self._row(answers[at : at + 1], ids[at : at + 1]), rows, _AT_ONCE)
        for at, (paths, problem) in zip(rows, kept, strict=True):
            found[at] = paths
            if problem is not None:
                problems[at] = problem
        if self.several:
            return arrow_columns.build(found, self.column), problems
        return arrow_columns.strings([paths[0] if paths else None for paths in found]), problems

    def _row(self, answer: pa.Array, its_id: pa.Array) -> tuple[list[str] | None, str | None]:
        """(paths, what is wrong) of one row."""
        (urls,), (custom_id,) = answer.to_pylist(), its_id.to_pylist()
        try:
            wanted = urls if self.several else urls[:1]  # what no row points to is not kept
            return [self._path(custom_id, number, url) for number, url in enumerate(wanted, 1)], None
        except ValueError as error:
            return None, str(error)

    def _path(self, custom_id: str, number: int, url: str) -> str:
        if not url.startswith("data:"):
            return url
        head, _, text = url.partition(",")
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"image {number} is not base64: {error}") from None
        if not data:
            raise ValueError(f"image {number} is empty")
        return self.files.keep(asset_name(custom_id, number, _ending(data, head)), data)


@dataclass(frozen=True)
class Videos:
    """Video objects, whose files were kept when the results were collected."""

    files: Files

    @property
    def wire(self) -> pa.DataType:
        """The object, its file still unknown."""
        return VIDEO

    @property
    def column(self) -> pa.DataType:
        """The same."""
        return VIDEO

    def fit(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        """The objects with the paths of their files."""
        videos = answers.to_pylist()
        for video, custom_id in zip(videos, ids.to_pylist(), strict=True):
            if video is not None:
                video["file"] = self.files.find(video_name(custom_id))
        return arrow_columns.build(videos, VIDEO), {}


def video_name(custom_id: str) -> str:
    """The file name of a row's video."""
    return asset_name(custom_id, 1, "mp4")


class NoFiles:
    """For those who want to know the types alone."""

    def keep(self, name: str, data: bytes) -> str:
        """Never called: there are no answers."""
        raise AssertionError(f"{name}: {len(data)} bytes and nowhere to keep them")

    def find(self, name: str) -> str | None:  # noqa: ARG002 - as the protocol has it
        """None is kept."""
        return None


NO_FILES: Final = NoFiles()


def _ending(data: bytes, head: str) -> str:
    """What the bytes are; what they are said to be where nobody knows them."""
    for magic, ending in _MAGIC:
        if magic.match(data):
            return ending
    said = re.match(r"data:image/([a-z0-9]{1,8})\b", head)
    return said[1] if said else "bin"
