"""The index of a job's earlier answers: a file of sorted arrays, mapped into memory, that tells where an answer is.

Six arrays of one entry an answer, sorted by the fingerprint: its two halves, the number of its source, and the chunk, the
row in it and the price of the answer: 32 bytes. After them the sources as JSON, its length, a checksum of all before, and a
mark. A file that is cut or damaged is not used.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np

from configs.errors import IntegrityError
from tasks.stages.prompt.recall import Numbers
from tasks.stages.row_status import RowStatus

COLUMNS: Final[tuple[tuple[str, Any], ...]] = (
    ("high", np.uint64),
    ("low", np.uint64),
    ("source", np.uint32),
    ("chunk", np.uint32),
    ("row", np.uint32),
    ("usd", np.float32),  # what the answer cost; NaN where unknown
)
ENTRY_BYTES: Final = sum(np.dtype(kind).itemsize for _, kind in COLUMNS)
_MARK: Final = b"NMREUSE1"
_FOOTER: Final = struct.Struct("<QI8s")
_BLOCK: Final = 8 << 20


class DamagedIndex(IntegrityError):
    """The file is no whole index."""


class Source(msgspec.Struct, frozen=True):
    """Answers that have these in common: the run folder that holds them, when they were bought, and their status.

    A run that takes an answer over holds it from then on, so that folders may go in the order in which they came. `began` is
    when the run did that holds it. `entries` counts those in the index.
    """

    run: str
    folder: str
    began: datetime
    answered_at: datetime
    status: RowStatus
    entries: int = 0


@dataclass(frozen=True)
class Entries:
    """Arrays of one entry an answer, as `COLUMNS` have them."""

    high: Numbers
    low: Numbers
    source: Numbers
    chunk: Numbers
    row: Numbers
    usd: Numbers

    def __len__(self) -> int:
        return len(self.high)

    @property
    def columns(self) -> tuple[Numbers, ...]:
        """All six."""
        return self.high, self.low, self.source, self.chunk, self.row, self.usd

    def take(self, places: Any) -> Entries:
        """The entries at these places, or in this slice."""
        return Entries(*(column[places] for column in self.columns))

    @staticmethod
    def joined(parts: Sequence[Entries]) -> Entries:
        """One after the other."""
        if not parts:
            return NO_ENTRIES
        return Entries(
            *(np.concatenate(columns) for columns in zip(*(p.columns for p in parts), strict=True))
        )


NO_ENTRIES: Final = Entries(*(np.zeros(0, kind) for _, kind in COLUMNS))


@dataclass(frozen=True)
class Index:
    """Entries sorted by fingerprint, each at most once, and their sources."""

    entries: Entries
    sources: tuple[Source, ...]

    def find(self, fingerprints: Numbers) -> Numbers:
        """The place of each fingerprint (a row of two halves), -1 where it is not in the index.

        Of two with the same first half only one is found: of 10 million answers, one in 370,000 indexes has such a pair.
        """
        if not len(self.entries) or not len(fingerprints):
            return np.full(len(fingerprints), -1, np.int64)
        high, low = fingerprints[:, 0], fingerprints[:, 1]
        order = np.argsort(high)  # neighbours lie on the same pages
        places = np.empty(len(high), np.int64)
        places[order] = np.searchsorted(self.entries.high, high[order])
        places = np.minimum(places, len(self.entries) - 1)
        same = (self.entries.high[places] == high) & (self.entries.low[places] == low)
        return np.where(same, places, -1)


EMPTY: Final = Index(NO_ENTRIES, ())


def open_index(file: BinaryIO) -> Index:
    """Map an index file, which must have a descriptor, into memory; it may be closed then. DamagedIndex if it is none."""
    size = file.seek(0, 2)
    if size < _FOOTER.size:
        raise DamagedIndex("it is cut")
    raw: Numbers = np.memmap(file, np.uint8, "r")
    length, checksum, mark = _FOOTER.unpack(raw[size - _FOOTER.size :].tobytes())
    rest = size - _FOOTER.size - length
    if mark != _MARK or rest < 0 or rest % ENTRY_BYTES:
        raise DamagedIndex("it is none, or cut")
    if (
        _checksum(raw[at : min(at + _BLOCK, size - _FOOTER.size)] for at in range(0, size, _BLOCK))
        != checksum
    ):
        raise DamagedIndex("its checksum differs")
    try:
        sources = msgspec.json.decode(raw[rest : rest + length].tobytes(), type=tuple[Source, ...])
    except msgspec.MsgspecError as error:
        raise DamagedIndex(f"its sources are of another version ({error})") from error
    return Index(mapped_entries(raw, 0, rest // ENTRY_BYTES), sources)


def write_index(columns: Iterable[Iterable[Numbers]], sources: Sequence[Source], sink: BinaryIO) -> None:
    """Write an index: of each column its pieces in order, which together are as long for all."""
    checksum = 0
    for pieces in columns:
        for piece in pieces:
            block = np.ascontiguousarray(piece).view(np.uint8).data
            checksum = zlib.crc32(block, checksum)
            sink.write(block)
    content = msgspec.json.encode(sources)
    sink.write(content)
    sink.write(_FOOTER.pack(len(content), zlib.crc32(content, checksum), _MARK))


def mapped_entries(raw: Numbers, at: int, count: int) -> Entries:
    """The entries whose arrays begin at that byte."""
    columns = []
    for _, kind in COLUMNS:
        stop = at + count * np.dtype(kind).itemsize
        columns.append(raw[at:stop].view(kind))
        at = stop
    return Entries(*columns)


def _checksum(blocks: Iterable[Numbers]) -> int:
    checksum = 0
    for block in blocks:
        checksum = zlib.crc32(block.data, checksum)
    return checksum
