"""Parts of a message that are files of a row (`{type: image, column: photo}`): as many as the row's cell has, or none."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from tasks.stages.prompt.file_cells import Files, RowFile
from tasks.stages.prompt.media_type import media_type
from tasks.stages.prompt.row_errors import RowError, SkipCode
from tasks.stages.prompt.templates import unknown_column
from tasks.storage.file_roots import FileRefused

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


class Media(NamedTuple):
    """A file as a request holds it: its media type, its bytes as base64, and a name for it."""

    kind: str
    data: str
    name: str

    @property
    def url(self) -> str:
        """The file as a data URL."""
        return f"data:{self.kind};base64,{self.data}"


class RowFiles(NamedTuple):
    """A leaf of a request tree, in a list: the files in `column`, each as `write` makes a part of it. `name` is its place in the job
    file; files of other media types than those of `takes` skip their row."""

    column: str
    name: str
    takes: frozenset[str]
    write: Callable[[Media], dict[str, Any]]

    @property
    def asked(self) -> list[str]:
        """What it says for all rows alike."""
        return [self.column, *sorted(self.takes), orjson.dumps(self.write(Media("", "", ""))).decode()]


class FileError(RowError):
    """A file of a row cannot be sent."""

    def __init__(self, code: SkipCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class RunOfFiles(NamedTuple):
    """Neighbouring `RowFiles` of a list, and where the commas go that part them from what else is in it: `before` each file, or
    after it; None where there is nothing else."""

    leaves: tuple[RowFiles, ...]
    before: bool | None


class FilesOfRows:
    """What fills a `RunOfFiles`, as `RowTemplate` fills a template. ConfigError for a column that is not there."""

    blank = b""

    def __init__(self, run: RunOfFiles, columns: Sequence[str]) -> None:
        self._leaves, self._before = run
        for leaf in self._leaves:
            if leaf.column not in columns:
                raise unknown_column(leaf.column, leaf.name, columns)
        self.name = self._leaves[0].name

    @property
    def columns(self) -> frozenset[str]:
        """The dataset columns it reads."""
        return frozenset(leaf.column for leaf in self._leaves)

    def check(self, files: Files, rows: int) -> None:
        """Raise FileError for the first row that cannot be sent."""
        for leaf in self._leaves:
            for each in files[leaf.column]:
                for file in each:
                    _kind(file, leaf)
        if self._before is None:
            for row in range(rows):
                if not any(files[leaf.column][row] for leaf in self._leaves):
                    column = self._leaves[0].column
                    raise FileError(
                        "file_not_found", f"{self.name}: column {column!r} has no file in this row"
                    )

    def render(self, files: Files, rows: int) -> list[bytes]:
        """The parts of each row as JSON, with their commas; rows have passed `check`."""
        return [self._parts(files, row) for row in range(rows)]

    def shown(self, sent: bytes) -> str:
        """The parts as people read them before they pay: nothing of what is in the files."""
        return _BASE64.sub(_cut, sent.decode().strip(","))

    def _parts(self, files: Files, row: int) -> bytes:
        parts = [_json(file, leaf) for leaf in self._leaves for file in files[leaf.column][row]]
        if self._before is None:
            return b",".join(parts)
        return b"".join(b"," + part if self._before else part + b"," for part in parts)


def _json(file: RowFile, leaf: RowFiles) -> bytes:
    kind = _kind(file, leaf)
    data = base64.b64encode(file.content if isinstance(file.content, bytes) else b"").decode("ascii")
    name = file.name.rpartition("/")[2] or f"file.{kind.rpartition('/')[2]}"
    return orjson.dumps(leaf.write(Media(kind, data, name)))


def _kind(file: RowFile, leaf: RowFiles) -> str:
    """The file's media type, which is one that is taken."""
    where = f"{leaf.name}: column {leaf.column!r}: "
    if isinstance(file.content, FileRefused):
        raise FileError(file.content.code, f"{where}{file.content}")
    kind = media_type(file.content)
    if kind in leaf.takes:
        return kind
    named = f"{file.name[:120]!r} " if file.name else ""
    found = "is empty" if not file.content else f"is {kind}" if kind else "begins like no file that is known"
    raise FileError("file_unsupported", f"{where}{named}{found}; taken are {', '.join(sorted(leaf.takes))}")


def _cut(data: re.Match[str]) -> str:
    return f"... ({len(data[0]):,} characters)"
