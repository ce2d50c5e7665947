"""Decode a CSV file's bytes to UTF-8 for Arrow, and find the line numbers of bad records by a slow second reading."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from configs.errors import InputError
from tasks.stages.read.csv_header import check_header
from tasks.stages.read.text_encoding import likely_encoding
from tasks.storage.source_files import BadLine, Fragment, SourceFilesystem
from tasks.storage.urls import one_line

# Unicode noncharacters: never text, so they can stand for what is not text.
UNDECODABLE = "\ufdd0"  # where bytes could not be decoded
END_RECORD = "\ufdd1"  # the last record; it goes missing only when a quote was never closed

_READ_BYTES = 1 << 20
_BOM = codecs.BOM_UTF8
_LINE_END = re.compile(rb"\r\n|\n|\r")
MAX_RECORD_BYTES = 64 << 20  # one this large is a quote that was never closed


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: UNDECODABLE in place of the bytes, instead of an exception for the whole file."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


codecs.register_error("nightmail_mark", _mark_undecodable)


@dataclass(frozen=True)
class CsvHeader:
    """The names of a file's columns, and the number of the line in which the header ends."""

    names: tuple[str, ...]
    lines: int


@dataclass(frozen=True)
class CsvText:
    """The text of one CSV file: how it is encoded and delimited, and ways to read it."""

    storage: SourceFilesystem
    fragment: Fragment
    encoding: str
    delimiter: str
    quote: str
    escape: str | None = None
    skip_lines: int = 0
    said_delimiter: str | None = None  # by the job

    @property
    def display_path(self) -> str:
        """The path as messages name it."""
        return self.storage.display_path(self.fragment.path)

    def open(self, columns: int, skip_lines: int, *, checked: bool) -> Utf8Stream:
        """UTF-8 bytes of the text after its first lines, with a last record of END_RECORD in each column.

        With `checked`, what cannot be decoded becomes UNDECODABLE; without, UTF-8 passes as it is.
        """
        end = self.delimiter.join([END_RECORD] * columns) + "\n"
        stream = self.storage.open_stream(self.fragment)
        return Utf8Stream(stream, self.encoding, end.encode(), skip_lines, checked=checked)

    def header(self) -> CsvHeader:
        """Column names. Raises InputError when there are none."""
        with (
            self.storage.input_errors(self.fragment.path),
            self.open(1, self.skip_lines, checked=True) as text,
        ):
            lines, names = next(
                ((end, fields) for _, end, fields in self._parsed(text, self.skip_lines)), (0, [END_RECORD])
            )
        if names == [END_RECORD]:
            raise InputError(f"{self.display_path}: is empty; a CSV file needs a header line")
        if any(END_RECORD in name for name in names):
            raise InputError(f"{self.display_path}: line 1: a quote in the header is never closed; close it")
        if any(UNDECODABLE in name for name in names):
            raise InputError(
                f"{self.display_path}: line {lines}: not {self.encoding} text; {self.encoding_advice}"
            )
        if any("\0" in name for name in names):
            raise InputError(f"{self.display_path}: the header holds zero bytes; {self.encoding_advice}")
        check_header(self.display_path, names, self.delimiter, self.said_delimiter)
        return CsvHeader(_distinguished(names), lines)

    @property
    def encoding_advice(self) -> str:
        """What to set for bytes that cannot be decoded, from a look at the file."""
        stream = self.storage.open_stream(self.fragment)
        with stream:
            likely = likely_encoding(stream.read(_READ_BYTES))
        if codecs.lookup(likely) == codecs.lookup(self.encoding):
            return "correct it, or set source.bad_lines: skip"
        return f"it looks like {likely}: set source.csv.encoding: {likely}"

    def records(self, header: CsvHeader) -> Iterator[tuple[int, list[str]]]:
        """Every record after the header, with the line it starts in. Slow: only for messages.

        Raises InputError at a quote that is never closed.
        """
        csv.field_size_limit(
            MAX_RECORD_BYTES
        )  # process-wide; Python's own 128 KB is less than a cell may hold
        line, last, columns = 1, [""], len(header.names)
        with (
            self.storage.input_errors(self.fragment.path),
            self.open(columns, header.lines, checked=True) as text,
        ):
            for line, _, fields in self._parsed(text, header.lines, blank=columns == 1):
                last = fields
                if fields != [END_RECORD] * columns:
                    if any(END_RECORD in value for value in fields):
                        break
                    yield line, fields
        if last != [END_RECORD] * columns:
            raise InputError(
                f"{self.display_path}: line {line}: a quote opened in this record is never closed; close it, or set source.csv.quote"
            )

    def bad_lines(self, header: CsvHeader, used: Collection[int]) -> Iterator[BadLine]:
        """Ragged lines, and lines whose `used` columns cannot be decoded, in file order."""
        for line, fields in self.records(header):
            reason = self.problem(fields, len(header.names), used)
            if reason:
                yield BadLine(self.display_path, line, reason)

    def line_of(self, row: int, header: CsvHeader, used: Collection[int]) -> int:
        """The line in which the good record number `row` (from 0) starts."""
        good_lines = (
            line for line, fields in self.records(header) if not self.problem(fields, len(header.names), used)
        )
        return next((line for number, line in enumerate(good_lines) if number == row), 0)

    def problem(self, fields: list[str], columns: int, used: Collection[int]) -> str | None:
        """Why a record cannot be taken."""
        if len(fields) != columns:
            return f"has {len(fields)} {'field' if len(fields) == 1 else 'fields'}, not {columns}"
        if any(UNDECODABLE in fields[index] for index in used):
            return f"is not {self.encoding} text"
        return None

    def _parsed(
        self, text: Utf8Stream, skipped: int, *, blank: bool = False
    ) -> Iterator[tuple[int, int, list[str]]]:
        """Records with the lines each starts and ends in, by Python's csv module: Arrow does not tell lines.

        A blank line is a record only where it can be one: in a file of one column.
        """
        lines = io.TextIOWrapper(io.BufferedReader(text, _READ_BYTES), "utf-8", "replace", newline="")
        reader = csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote, escapechar=self.escape)
        start = skipped + 1
        try:
            for fields in reader:
                end = skipped + reader.line_num
                if fields or blank:
                    yield start, end, fields or [""]
                start = end + 1
        except csv.Error as error:
            raise InputError(
                f"{self.display_path}: line {start}: {one_line(error)}; close the quote in this record, or set source.csv.quote"
            ) from error


def _distinguished(names: list[str]) -> tuple[str, ...]:
    """Several columns without a name, as trailing commas make them, get one by their place."""
    if names.count("") < 2:
        return tuple(names)
    return tuple(name or f"column_{place}" for place, name in enumerate(names, 1))


class Utf8Stream(io.RawIOBase):
    """A byte stream in any codec, read as UTF-8 bytes without a BOM and its first lines, and the record `end` as its last.

    `marked` tells whether anything so far could not be decoded (only known when `checked`).
    """

    def __init__(self, stream: Any, encoding: str, end: bytes, skip_lines: int, *, checked: bool) -> None:
        super().__init__()
        self._stream = stream
        utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        self._decoder = (
            None if utf8 and not checked else codecs.getincrementaldecoder(encoding)("nightmail_mark")
        )
        self._end: bytes | None = end
        self._pending = memoryview(b"")
        self._head: bytes | None = b""  # until the lines to skip are complete
        self._skip_lines = skip_lines
        self._in_line = False
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
        if self._head is not None:
            data = self._after_head(data, final=not chunk)
        if data:
            self._in_line = data[-1:] not in (b"\n", b"\r")
        if not chunk and self._end is not None:
            data, self._end = data + b"\n" * self._in_line + self._end, None
        return data

    def _after_head(self, data: bytes, *, final: bool) -> bytes:
        """What follows the lines to skip; nothing while they may go on."""
        head = (self._head or b"") + data
        ends = list(islice(_LINE_END.finditer(head), self._skip_lines))
        complete = len(ends) == self._skip_lines and (not ends or ends[-1].end() < len(head))
        if not final and not (complete and head):
            self._head = head
            return b""
        self._head = None
        if not complete:
            return b""
        return head[ends[-1].end() :] if ends else head.removeprefix(_BOM)

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
