"""Decode a CSV file's bytes to UTF-8 for Arrow, and find the line numbers of bad records by a slow second reading."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from configs.errors import InputError
from tasks.storage.source_files import BadLine, Fragment, SourceFilesystem
from tasks.storage.urls import one_line

# Unicode noncharacters: never text, so they can stand for what is not text.
UNDECODABLE = "\ufdd0"  # where bytes could not be decoded
END_RECORD = "\ufdd1"  # the last record; it goes missing only when a quote was never closed

_READ_BYTES = 1 << 20
_BOM = codecs.BOM_UTF8
MAX_RECORD_BYTES = 64 << 20  # one this large is a quote that was never closed


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: UNDECODABLE in place of the bytes, instead of an exception for the whole file."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


codecs.register_error("nightmail_mark", _mark_undecodable)


@dataclass(frozen=True)
class CsvText:
    """The text of one CSV file: how it is encoded and delimited, and ways to read it."""

    storage: SourceFilesystem
    fragment: Fragment
    encoding: str
    delimiter: str
    quote: str

    @property
    def display_path(self) -> str:
        """The path as messages name it."""
        return self.storage.display_path(self.fragment.path)

    def open(self, columns: int, *, checked: bool) -> Utf8Stream:
        """UTF-8 bytes of the text with a last record of END_RECORD in each column.

        With `checked`, what cannot be decoded becomes UNDECODABLE; without, UTF-8 passes as it is.
        """
        end = "\n" + self.delimiter.join([END_RECORD] * columns) + "\n"
        return Utf8Stream(
            self.storage.open_stream(self.fragment), self.encoding, end.encode(), checked=checked
        )

    def header(self) -> list[str]:
        """Column names. Raises InputError when there are none."""
        with self.storage.input_errors(self.fragment.path), self.open(1, checked=True) as text:
            names = next((fields for _, fields in self._parsed(text)), [END_RECORD])
        if names == [END_RECORD]:
            raise InputError(f"{self.display_path}: is empty; a CSV file needs a header line")
        if any(END_RECORD in name for name in names):
            raise InputError(f"{self.display_path}: line 1: a quote in the header is never closed; close it")
        if any(UNDECODABLE in name for name in names):
            raise InputError(
                f"{self.display_path}: line 1: not {self.encoding} text; set source.csv.encoding"
            )
        return names

    def records(self, columns: int) -> Iterator[tuple[int, list[str]]]:
        """Every record after the header, with the line it starts in. Slow: only for messages.

        Raises InputError at a quote that is never closed.
        """
        csv.field_size_limit(
            MAX_RECORD_BYTES
        )  # process-wide; Python's own 128 KB is less than a cell may hold
        line, last = 1, [""]
        with self.storage.input_errors(self.fragment.path), self.open(columns, checked=True) as text:
            parsed = self._parsed(text)
            next(parsed, None)
            for line, fields in parsed:
                last = fields
                if fields != [END_RECORD] * columns:
                    if any(END_RECORD in value for value in fields):
                        break
                    yield line, fields
        if last != [END_RECORD] * columns:
            raise InputError(
                f"{self.display_path}: line {line}: a quote opened in this record is never closed; close it, or set source.csv.quote"
            )

    def bad_lines(self, columns: int, used: Collection[int]) -> Iterator[BadLine]:
        """Ragged lines, and lines whose `used` columns cannot be decoded, in file order."""
        for line, fields in self.records(columns):
            reason = self._problem(fields, columns, used)
            if reason:
                yield BadLine(self.display_path, line, reason)

    def line_of(self, row: int, columns: int, used: Collection[int]) -> int:
        """The line in which the good record number `row` (from 0) starts."""
        good_lines = (
            line for line, fields in self.records(columns) if not self._problem(fields, columns, used)
        )
        return next((line for number, line in enumerate(good_lines) if number == row), 0)

    def _problem(self, fields: list[str], columns: int, used: Collection[int]) -> str | None:
        if len(fields) != columns:
            return f"has {len(fields)} {'field' if len(fields) == 1 else 'fields'}, not {columns}"
        if any(UNDECODABLE in fields[index] for index in used):
            return f"is not {self.encoding} text"
        return None

    def _parsed(self, text: Utf8Stream) -> Iterator[tuple[int, list[str]]]:
        """Records with the line each starts in, by Python's csv module: Arrow does not tell lines."""
        lines = io.TextIOWrapper(io.BufferedReader(text, _READ_BYTES), "utf-8", "replace", newline="")
        reader = csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote)
        start = 1
        try:
            for fields in reader:
                if fields:
                    yield start, fields
                start = reader.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"{self.display_path}: line {start}: {one_line(error)}; close the quote in this record, or set source.csv.quote"
            ) from error


class Utf8Stream(io.RawIOBase):
    """A byte stream in any codec, read as UTF-8 bytes without a BOM, with `end` after the last byte.

    `marked` tells whether anything so far could not be decoded (only known when `checked`).
    """

    def __init__(self, stream: Any, encoding: str, end: bytes, *, checked: bool) -> None:
        super().__init__()
        self._stream = stream
        utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        self._decoder = (
            None if utf8 and not checked else codecs.getincrementaldecoder(encoding)("nightmail_mark")
        )
        self._end: bytes | None = end
        self._pending = memoryview(b"")
        self._at_start = True
        self.marked = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._pending and self._end is not None:
            self._pending = memoryview(self._next_bytes())
        size = min(len(target), len(self._pending))
        target[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _next_bytes(self) -> bytes:
        chunk: bytes = self._stream.read(_READ_BYTES)
        data = self._decoded(chunk)
        if data and self._at_start:
            self._at_start = False
            data = data.removeprefix(_BOM)
        if not chunk and self._end is not None:
            data, self._end = data + self._end, None
        return data

    def _decoded(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return chunk
        text = self._decoder.decode(chunk, final=not chunk)
        self.marked = self.marked or UNDECODABLE in text
        return text.encode("utf-8", "replace")


class BlockReader(io.RawIOBase):
    """Reads a text in blocks for Arrow, never cut between \\r and \\n.

    Arrow drops a \\n that begins a block after a \\r, taking the two for one line end: inside quotes that would
    lose a byte of the value.
    """

    def __init__(self, text: Utf8Stream, block: int) -> None:
        super().__init__()
        self._text = io.BufferedReader(text, block)
        self._carry = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._carry + self._text.read(size - len(self._carry))
        self._carry = b"\r" if data.endswith(b"\r") and len(data) > 1 else b""
        return data.removesuffix(self._carry)
