"""Cut the stream of request lines into chunks: contiguous rows, filled greedily, never over a limit, to the byte.

A `Sharder` is fed micro-batches of request lines and answers with pieces. A writer appends `piece.payload` to the
current chunk's file and begins another whenever `piece.new_chunk` says so; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from tasks.stages.prompt import tokens
from tasks.stages.prompt.render import Skip
from tasks.stages.prompt.tokens import Weights

MAX_REQUESTS: Final = 50_000
"""Requests in a batch, by OpenAI's Batch API reference."""

MAX_BYTES: Final = 200_000_000
"""OpenAI documents 200 MB and enforces 209,715,200 bytes: this keeps both readings."""

MAX_ROWS: Final = 500_000
"""Rows in a chunk: where few of them are posted, nothing else bounds the memory that its merge takes."""

Lines = Sequence[bytes | Skip | None]
"""Of a micro-batch, a request line per row; a `Skip` where there is none, and None where none is needed."""

_PLAIN: Final = Weights()


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The limits of one batch file, and of the rows of its chunk, posted or not. Bytes count final newlines; tokens are
    `tasks.stages.prompt.tokens` estimates. None: no limit."""

    max_requests: int = MAX_REQUESTS
    max_bytes: int = MAX_BYTES
    max_line_bytes: int | None = None
    max_tokens: int | None = None
    max_rows: int = MAX_ROWS


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `start:stop` of a micro-batch, all in one chunk.

    `new_chunk`: they begin a chunk (so does the very first piece). `payload`: their lines, joined. `skipped`: which of
    them are not posted, as (row of the micro-batch, why); `copies` which of them ask what a row of the chunk before them asks,
    as (row of the micro-batch, that row of the chunk). `token_units` adds up over pieces, in `tokens.UNITS`.
    """

    start: int
    stop: int
    new_chunk: bool
    payload: bytes
    requests: int
    token_units: int
    skipped: tuple[tuple[int, Skip], ...] = ()
    copies: tuple[tuple[int, int], ...] = ()


class Sharder:
    """Cuts a stream of lines into chunks.

    Each micro-batch comes with the weights of its lines. A row that is not posted belongs to the chunk it stands in and
    costs nothing but its place. A line over `max_bytes` or `max_line_bytes` is skipped. A line estimated over `max_tokens` by itself gets
    a chunk of its own: an estimate loses no row.
    """

    def __init__(self, limits: FileLimits) -> None:
        self.first_alone = False  # the first request gets a chunk of its own, in which no other is
        self._limits = limits
        self._max_line_bytes = min(limits.max_bytes, limits.max_line_bytes or limits.max_bytes)
        self._max_units = None if limits.max_tokens is None else limits.max_tokens * tokens.UNITS
        self.begin_chunk()

    def begin_chunk(self) -> None:
        """Let the next row begin a chunk, whatever room is left in this one."""
        self._new_chunk = True
        self._rows = self._requests = self._bytes = self._units = 0
        self._row_of: dict[bytes, int] = {}  # of what is posted, by key

    def pieces(
        self, lines: Lines, weights: Weights = _PLAIN, keys: Sequence[bytes] | None = None
    ) -> Iterator[Piece]:
        """The micro-batch, cut. Every row is in exactly one piece, in order. Exhaust it before the next call.

        With `keys`, one a line, only the first line of a chunk with a key is posted.
        """
        if not lines:
            return
        # Nearly every micro-batch fits as a whole, and joining it once is far cheaper than looking at each line.
        whole = keys is None and self._rows + len(lines) <= self._limits.max_rows
        payload = self._joined(lines) if whole else None
        if payload is not None:
            units = weights.units(payload, range(len(lines)))
            if self._fits(len(lines), len(payload), units):
                self._rows += len(lines)
                self._count(len(lines), len(payload), units)
                yield Piece(0, len(lines), self._begins_chunk(), payload, len(lines), units)
                return
        yield from self._cut([self._skip_if_too_large(line) for line in lines], weights, keys)

    def _joined(self, lines: Lines) -> bytes | None:
        """All lines in one; None where a row has none, or one too large."""
        try:
            payload = b"".join(cast("Sequence[bytes]", lines))
        except TypeError:
            return None
        if len(payload) <= self._max_line_bytes:
            return payload
        return payload if max(map(len, cast("Sequence[bytes]", lines))) <= self._max_line_bytes else None

    def _skip_if_too_large(self, line: bytes | Skip | None) -> bytes | Skip | None:
        if not isinstance(line, bytes) or len(line) <= self._max_line_bytes:
            return line
        container = "batch file" if self._max_line_bytes == self._limits.max_bytes else "request line"
        reason = f"the request is {len(line):,} bytes; one {container} takes {self._max_line_bytes:,}"
        return Skip("row_too_large", reason)

    def _cut(
        self, lines: list[bytes | Skip | None], weights: Weights, keys: Sequence[bytes] | None
    ) -> Iterator[Piece]:
        """The micro-batch line by line, cut wherever the next line would not fit."""
        start = 0
        copies: list[tuple[int, int]] = []
        for row, line in enumerate(lines):
            size = len(line) if isinstance(line, bytes) else 0
            units = weights.units(line, (row,)) if isinstance(line, bytes) and self._max_units else 0
            is_copy = keys is not None and keys[row] in self._row_of
            is_full = size and not is_copy and not self._fits(1, size, units)
            if self._rows >= self._limits.max_rows or is_full:
                if row > start:
                    yield self._piece(start, lines[start:row], weights, copies)
                if self._requests:
                    self.first_alone = False
                self.begin_chunk()
                start, copies = row, []
            first = self._rows
            if size and keys is not None:
                first = self._row_of.setdefault(keys[row], self._rows)
            if first < self._rows:
                copies.append((row, first))
                lines[row] = None
            elif size:
                self._count(1, size, units)
            self._rows += 1
        yield self._piece(start, lines[start:], weights, copies)

    def _piece(self, start: int, lines: Lines, weights: Weights, copies: Sequence[tuple[int, int]]) -> Piece:
        posted = [row for row, line in enumerate(lines, start) if isinstance(line, bytes)]
        skipped = tuple((row, line) for row, line in enumerate(lines, start) if isinstance(line, Skip))
        payload = b"".join(line for line in lines if isinstance(line, bytes))
        units = weights.units(payload, posted)
        stop = start + len(lines)
        return Piece(start, stop, self._begins_chunk(), payload, len(posted), units, skipped, tuple(copies))

    def _begins_chunk(self) -> bool:
        """Whether the piece that is made now begins a chunk; the one after it does not."""
        begins, self._new_chunk = self._new_chunk, False
        return begins

    def _fits(self, requests: int, size: int, units: int) -> bool:
        if self._requests + requests <= 1:  # too many tokens by themselves are no reason to lose a row
            return True
        return (
            not self.first_alone
            and self._requests + requests <= self._limits.max_requests
            and self._bytes + size <= self._limits.max_bytes
            and (self._max_units is None or self._units + units <= self._max_units)
        )

    def _count(self, requests: int, size: int, units: int) -> None:
        self._requests += requests
        self._bytes += size
        self._units += units
