"""The files of a source dataset: where they are, how their bytes are opened, and which of their lines were left out."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from configs.errors import InputError, NightmailError
from tasks.storage.urls import explanation_of, filesystem_of, one_line, redacted

# Arrow reads only the first stream of a .bz2 that was packed in parallel, and knows no xz.
_PYTHON_CODECS: dict[str | None, Callable[[Any], Any]] = {"bz2": bz2.BZ2File, "xz": lzma.LZMAFile}
Format = Literal["parquet", "csv", "jsonl", "arrow", "requests"]

REMOTE_BLOCK = 8 << 20  # one range request per block: smaller ones cost more round trips than they save
BATCH_BYTES = 1 << 20  # of rows that are handed on together: memory must not grow with the size of a row
_EXAMPLES = 20


@dataclass(frozen=True)
class Fragment:
    """One file of the dataset. `partition` holds the `name=value` folders it lies in, as text."""

    path: str
    format: Format
    compression: str | None
    size: int
    version: str
    partition: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class BadLine:
    """A line that was left out under `bad_lines: skip`; `line` is the physical one, from 1."""

    path: str
    line: int
    reason: str


@dataclass
class BadLines:
    """The lines left out so far: every one counted, the first twenty kept as examples."""

    total: int = 0
    examples: list[BadLine] = field(default_factory=list)

    @property
    def examples_wanted(self) -> int:
        """How many more examples there is room for."""
        return _EXAMPLES - len(self.examples)

    def add(self, line: BadLine) -> None:
        """Count a line."""
        self.total += 1
        if self.examples_wanted > 0:
            self.examples.append(line)

    def clear(self) -> None:
        """Forget all of them: the dataset is read from the start again."""
        self.total = 0
        self.examples.clear()


@dataclass(frozen=True)
class SourceFilesystem:
    """The filesystem a dataset lies on: how its paths are shown to people, and how its files are opened."""

    fs: Any

    @property
    def local(self) -> bool:
        """Whether it is this machine's disk."""
        return isinstance(self.fs, LocalFileSystem)

    def display_path(self, path: str) -> str:
        """The path as a message names it: no user name, password or signature of a URL."""
        return path if self.local else redacted(str(self.fs.unstrip_protocol(path)))

    def open_stream(self, fragment: Fragment) -> Any:
        """The fragment's bytes from front to back, decompressed, as an Arrow stream."""
        raw: Any
        if self.local:
            raw = pa.OSFile(fragment.path)
        else:
            raw = pa.PythonFile(self.fs.open(fragment.path, "rb", block_size=REMOTE_BLOCK), mode="r")
        if fragment.compression in _PYTHON_CODECS:
            return pa.PythonFile(_PYTHON_CODECS[fragment.compression](raw), mode="r")
        return pa.CompressedInputStream(raw, fragment.compression) if fragment.compression else raw

    def open_random(self, fragment: Fragment) -> Any:
        """The fragment for random access: a local path, or a remote file.

        Uncached, because the Parquet reader asks for exactly the ranges it needs.
        """
        if self.local:
            return fragment.path
        return pa.PythonFile(self.fs.open(fragment.path, "rb", cache_type="none"), mode="r")

    @contextmanager
    def input_errors(self, path: str, action: str = "be read") -> Iterator[None]:
        """Turn anything that goes wrong in the block into an InputError of one line that names the path."""
        # A remote backend has error classes of its own, which cannot be named without importing its SDK.
        expected = (
            (OSError, EOFError, UnicodeError, lzma.LZMAError, pa.ArrowException)
            if self.local
            else (Exception,)
        )
        try:
            yield
        except NightmailError:
            raise
        except expected as error:
            hint = "check its permissions" if isinstance(error, PermissionError) else "check the file"
            reason = None if self.local else explanation_of(error)
            raise InputError(
                f"{self.display_path(path)}: {reason or f'cannot {action} ({one_line(error)}); {hint}'}"
            ) from error


def source_filesystem(url: str, key: str = "source.path") -> tuple[SourceFilesystem, str]:
    """The filesystem behind a path or URL, which stands in `key` of the job file, and the path inside it. Raises InputError."""
    try:
        fs, path = filesystem_of(url)
    except Exception as error:  # each fsspec backend has errors of its own
        raise InputError(
            f"{redacted(url)}: cannot be opened ({one_line(error)}); check {key} and that its protocol is installed"
        ) from error
    return SourceFilesystem(fs), path
