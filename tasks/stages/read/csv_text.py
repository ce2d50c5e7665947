"""The text of a CSV fragment: any codec in, UTF-8 out, and a slow second look that finds line numbers."""

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
MARK = "\ufdd0"  # where bytes could not be decoded
END = "\ufdd1"  # the last record; it goes missing only when a quote was never closed

_CHUNK = 1 << 20
_BOM = codecs.BOM_UTF8
LARGEST_RECORD = 64 << 20  # bytes; one this large is a quote that was never closed


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return MARK, error.end


codecs.register_error("nightmail_mark", _mark)


@dataclass(frozen=True)
class CsvText:
    """How one fragment's text is written, and the means to open it."""

    storage: SourceFilesystem
    fragment: Fragment
    encoding: str
    delimiter: str
    quote: str

    @property
    def shown(self) -> str:
        return self.storage.display_path(self.fragment.path)

    def open(self, columns: int, *, checked: bool) -> TextBytes:
        """UTF-8 bytes of the text with a last record of END in each column.

        With `checked`, what cannot be decoded becomes MARK; without, UTF-8 passes as it is.
        """
        end = "\n" + self.delimiter.join([END] * columns) + "\n"
        return TextBytes(
            self.storage.open_stream(self.fragment), self.encoding, end.encode(), checked=checked
        )

    def header(self) -> list[str]:
        """Column names. Raises InputError when there are none."""
        with self.storage.input_errors(self.fragment.path), self.open(1, checked=True) as text:
            names = next((fields for _, fields in self._parsed(text)), [END])
        if names == [END]:
            raise InputError(f"{self.shown}: is empty; a CSV file needs a header line")
        if any(END in name for name in names):
            raise InputError(f"{self.shown}: line 1: a quote in the header is never closed; close it")
        if any(MARK in name for name in names):
            raise InputError(f"{self.shown}: line 1: not {self.encoding} text; set source.csv.encoding")
        return names

    def records(self, columns: int) -> Iterator[tuple[int, list[str]]]:
        """Every record after the header, with the line it starts in. Slow: only for messages.

        Raises InputError at a quote that is never closed.
        """
        csv.field_size_limit(LARGEST_RECORD)  # process-wide; Python's own 128 KB is less than a cell may hold
        line, last = 1, [""]
        with self.storage.input_errors(self.fragment.path), self.open(columns, checked=True) as text:
            parsed = self._parsed(text)
            next(parsed, None)
            for line, fields in parsed:
                last = fields
                if fields != [END] * columns:
                    if any(END in value for value in fields):
                        break
                    yield line, fields
        if last != [END] * columns:
            raise InputError(
                f"{self.shown}: line {line}: a quote opened in this record is never closed; close it, or set source.csv.quote"
            )

    def bad_lines(self, columns: int, used: Collection[int]) -> Iterator[BadLine]:
        """Ragged lines, and lines whose `used` columns cannot be decoded, in file order."""
        for line, fields in self.records(columns):
            reason = self._fault(fields, columns, used)
            if reason:
                yield BadLine(self.shown, line, reason)

    def line_of(self, row: int, columns: int, used: Collection[int]) -> int:
        """The line in which the good record number `row` (from 0) starts."""
        good = (line for line, fields in self.records(columns) if not self._fault(fields, columns, used))
        return next((line for number, line in enumerate(good) if number == row), 0)

    def _fault(self, fields: list[str], columns: int, used: Collection[int]) -> str | None:
        if len(fields) != columns:
            return f"has {len(fields)} {'field' if len(fields) == 1 else 'fields'}, not {columns}"
        if any(MARK in fields[index] for index in used):
            return f"is not {self.encoding} text"
        return None

    def _parsed(self, text: TextBytes) -> Iterator[tuple[int, list[str]]]:
        lines = io.TextIOWrapper(io.BufferedReader(text, _CHUNK), "utf-8", "replace", newline="")
        reader = csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote)
        start = 1
        try:
            for fields in reader:
                if fields:
                    yield start, fields
                start = reader.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"{self.shown}: line {start}: {one_line(error)}; close the quote in this record, or set source.csv.quote"
            ) from error


class TextBytes(io.RawIOBase):
    """A byte stream in any codec as UTF-8 bytes, without BOM, with `end` after the last byte.

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
        self._ready = memoryview(b"")
        self._fresh = True
        self.marked = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._ready and self._end is not None:
            self._ready = memoryview(self._more())
        size = min(len(target), len(self._ready))
        target[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _more(self) -> bytes:
        chunk: bytes = self._stream.read(_CHUNK)
        data = self._decoded(chunk)
        if data and self._fresh:
            self._fresh = False
            data = data.removeprefix(_BOM)
        if not chunk and self._end is not None:
            data, self._end = data + self._end, None
        return data

    def _decoded(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return chunk
        text = self._decoder.decode(chunk, final=not chunk)
        self.marked = self.marked or MARK in text
        return text.encode("utf-8", "replace")


class Blocks(io.RawIOBase):
    """A text cut into blocks for Arrow, never between \\r and \\n.

    Arrow drops a \\n that begins a block after a \\r, taking the two for one line end: inside quotes that would
    lose a byte of the value.
    """

    def __init__(self, text: TextBytes, block: int) -> None:
        super().__init__()
        self._text = io.BufferedReader(text, block)
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._held + self._text.read(size - len(self._held))
        self._held = b"\r" if data.endswith(b"\r") and len(data) > 1 else b""
        return data.removesuffix(self._held)
