"""Answers that are files: image and video columns, and names for their files that are unique and stay in their folder."""

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


class AssetStore(Protocol):
    """Keeps the files of one chunk's answers. Paths are relative to the output, as its rows name them."""

    def keep(self, name: str, data: bytes) -> str:
        """Write a file under a name; its path."""

    def find(self, name: str) -> str | None:
        """The path of a file that was kept before; None without one."""


# Files written at a time: waiting for a disk's sync or a store's reply needs threads, not processor time.
_FILES_AT_ONCE = 8
# Lower case alone: some file systems take A and a for one name.
_PLAIN_ID = re.compile(r"[a-z0-9_-]{1,64}")
# First bytes of image files, and the ending they are given.
_MAGIC_NUMBERS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"\s*<(\?xml|svg)"), "svg"),
)


def asset_name(custom_id: str, number: int, ending: str) -> str:
    """A file name for the `number`th file (from 1) of a row: its own, whatever characters the row's id has."""
    stem = custom_id
    if not _PLAIN_ID.fullmatch(custom_id):
        # Readable, and unique by the hash: "A/1" and "a-1" would else meet in one name.
        readable = re.sub(r"[^a-z0-9_-]+", "-", custom_id.lower())[:32]
        stem = f"{readable}-{hashlib.blake2b(custom_id.encode(), digest_size=10).hexdigest()}"
    return f"{stem}-{number}.{ending}"


@dataclass(frozen=True)
class ImageColumn:
    """Images, parsed as a list of URLs: what a data URL holds is kept as a file, any other URL stays as it is.

    A few rows' images are in memory at a time, beside the text they come in. `several`: the column holds lists.
    """

    assets: AssetStore
    several: bool

    @property
    def parsed_type(self) -> pa.DataType:
        """A list of URLs."""
        return pa.list_(pa.string())

    @property
    def type(self) -> pa.DataType:
        """A path or URL, or a list of them."""
        return self.parsed_type if self.several else pa.string()

    def convert(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        """Paths in place of data URLs."""
        answered = [row for row, valid in enumerate(answers.is_valid().to_pylist()) if valid]
        paths_by_row: list[list[str] | None] = [None] * len(answers)
        problems: dict[int, str] = {}

        def keep(row: int) -> tuple[list[str] | None, str | None]:
            return self._keep_row(answers[row : row + 1], ids[row : row + 1])

        for row, (paths, problem) in zip(
            answered, map_in_threads(keep, answered, _FILES_AT_ONCE), strict=True
        ):
            paths_by_row[row] = paths
            if problem is not None:
                problems[row] = problem
        if self.several:
            return arrow_columns.build(paths_by_row, self.type), problems
        return arrow_columns.strings([paths[0] if paths else None for paths in paths_by_row]), problems

    def _keep_row(self, answer: pa.Array, custom_id: pa.Array) -> tuple[list[str] | None, str | None]:
        """(paths, what is wrong) of one row, given as arrays of one: only then its text becomes Python's."""
        (urls,), (row_id,) = answer.to_pylist(), custom_id.to_pylist()
        try:
            kept = urls if self.several else urls[:1]  # a file that no row points to is not kept
            return [self._path(row_id, number, url) for number, url in enumerate(kept, 1)], None
        except ValueError as error:
            return None, str(error)

    def _path(self, custom_id: str, number: int, url: str) -> str:
        """The path of an image: of the file made of a data URL, else its URL. ValueError for a broken one."""
        if not url.startswith("data:"):
            return url
        head, _, text = url.partition(",")
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"image {number} is not base64: {error}") from None
        if not data:
            raise ValueError(f"image {number} is empty")
        return self.assets.keep(asset_name(custom_id, number, _ending(data, head)), data)


@dataclass(frozen=True)
class VideoColumn:
    """Video objects. Their files were fetched when the results were collected: OpenAI keeps them for a day."""

    assets: AssetStore

    @property
    def parsed_type(self) -> pa.DataType:
        """The object, its `file` still null."""
        return VIDEO

    @property
    def type(self) -> pa.DataType:
        """The object with its file."""
        return VIDEO

    def convert(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        """The objects with the paths of their files."""
        videos = answers.to_pylist()
        for video, custom_id in zip(videos, ids.to_pylist(), strict=True):
            if video is not None:
                video["file"] = self.assets.find(video_name(custom_id))
        return arrow_columns.build(videos, VIDEO), {}


def video_name(custom_id: str) -> str:
    """The file name of a row's video."""
    return asset_name(custom_id, 1, "mp4")


class NoAssetStore:
    """An asset store for those who only ask for a column's type and convert nothing."""

    def keep(self, name: str, data: bytes) -> str:
        """Never called: there are no answers to convert."""
        raise AssertionError(f"{name}: {len(data)} bytes and nowhere to keep them")

    def find(self, name: str) -> str | None:  # noqa: ARG002 - as the protocol has it
        """There is none."""
        return None


NO_ASSETS: Final = NoAssetStore()


def _ending(data: bytes, head: str) -> str:
    """The file ending, by the bytes themselves; by the data URL's own word where the bytes are not known."""
    for magic, ending in _MAGIC_NUMBERS:
        if magic.match(data):
            return ending
    declared = re.match(r"data:image/([a-z0-9]{1,8})\b", head)
    return declared[1] if declared else "bin"
