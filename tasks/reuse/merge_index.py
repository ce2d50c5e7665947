"""Make the index of a job: what an earlier one has, and the answers of one more run or of several.

Entries are sorted block by block, and the blocks are merged range of fingerprints by range, so that neither the rows of a
run nor those of an index are held at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np

from tasks.reuse.index import COLUMNS, Entries, Index, Source, mapped_entries, write_index
from tasks.stages.prompt.recall import Numbers
from tasks.storage.temporary import nameless_file, spooled_file

_BLOCK_ENTRIES: Final = 1 << 19
_MEMORY_BYTES: Final = 16 << 20  # of what is written aside, until it goes to disk


@dataclass
class IndexMaker:
    """Collects entries; `write` makes an index of them. Of several with one fingerprint, the answer bought last stays,
    in the run that began last.
    """

    _sources: list[Source] = field(default_factory=list)
    _pending: list[Entries] = field(default_factory=list)
    _sorted: BinaryIO = field(default_factory=nameless_file)
    _blocks: list[tuple[int, int]] = field(
        default_factory=list
    )  # in that file: where each begins, and its entries

    def take_over(self, index: Index, kept: Sequence[bool]) -> None:
        """Add what an index has of those of its sources that are kept."""
        places = np.full(len(kept), -1, np.int64)
        for place, source in enumerate(index.sources):
            if kept[place]:
                places[place] = self._place_of(source)
        for lo in range(0, len(index.entries), _BLOCK_ENTRIES):
            part = index.entries.take(slice(lo, lo + _BLOCK_ENTRIES))
            there = places[part.source]
            self._add_sorted(_with_source(part, there).take(there >= 0))

    def add(self, sources: Sequence[Source], entries: Entries) -> None:
        """Add answers; `entries.source` are places in `sources`."""
        places = np.array([self._place_of(source) for source in sources], np.int64)
        self._pending.append(_with_source(entries, places[entries.source]))
        if sum(map(len, self._pending)) >= _BLOCK_ENTRIES:
            self._flush()

    def write(self, sink: BinaryIO) -> None:
        """Write the index."""
        self._flush()
        rank = self._ranks()
        counts = np.zeros(len(self._sources), np.int64)
        columns = [_ColumnFile(kind) for _, kind in COLUMNS]
        for part in self._ranges():
            merged = _newest(part, rank)
            counts += np.bincount(merged.source, minlength=len(counts))
            for column, values in zip(columns, merged.columns, strict=True):
                column.append(values)
        sources = [
            msgspec.structs.replace(source, entries=int(count))
            for source, count in zip(self._sources, counts, strict=True)
        ]
        write_index((column.pieces() for column in columns), sources, sink)

    def _place_of(self, source: Source) -> int:
        source = msgspec.structs.replace(source, entries=0)
        if source not in self._sources:
            self._sources.append(source)
        return self._sources.index(source)

    def _ranks(self) -> Numbers:
        order = sorted(
            range(len(self._sources)),
            key=lambda place: (self._sources[place].answered_at, self._sources[place].began, place),
        )
        rank = np.zeros(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return rank

    def _flush(self) -> None:
        entries, self._pending = Entries.joined(self._pending), []
        if len(entries):
            self._add_sorted(entries.take(np.argsort(entries.high, kind="stable")))

    def _add_sorted(self, entries: Entries) -> None:
        if len(entries):
            self._blocks.append((self._sorted.tell(), len(entries)))
            for (_, kind), values in zip(COLUMNS, entries.columns, strict=True):
                self._sorted.write(values.astype(kind, copy=False).tobytes())

    def _ranges(self) -> Iterator[Entries]:
        """All entries, range by range of their first halves, about a block's worth each."""
        blocks = self._mapped()
        total = sum(map(len, blocks))
        parts = max(1, -(-total // _BLOCK_ENTRIES))
        bounds = [np.uint64(i * (1 << 64) // parts) for i in range(1, parts)]
        cuts = [
            np.concatenate(([0], np.searchsorted(block.high, np.array(bounds, np.uint64)), [len(block)]))
            for block in blocks
        ]
        for part in range(parts):
            yield Entries.joined(
                [block.take(slice(cut[part], cut[part + 1])) for block, cut in zip(blocks, cuts, strict=True)]
            )

    def _mapped(self) -> list[Entries]:
        if not self._blocks:
            return []
        self._sorted.flush()
        raw: Numbers = np.memmap(self._sorted, np.uint8, "r")
        return [mapped_entries(raw, at, count) for at, count in self._blocks]


def _with_source(entries: Entries, source: Numbers) -> Entries:
    return Entries(entries.high, entries.low, source, *entries.columns[3:])


def _newest(entries: Entries, rank: Numbers) -> Entries:
    """Sorted by fingerprint, each once: that of the highest rank, of its rows the first."""
    order = np.lexsort(
        (entries.row, entries.chunk, -rank[entries.source.astype(np.int64)], entries.low, entries.high)
    )
    high, low = entries.high[order], entries.low[order]
    first = np.ones(len(order), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return entries.take(order[first])


class _ColumnFile:
    """A column while it is made."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._file = spooled_file(_MEMORY_BYTES)

    def append(self, values: Numbers) -> None:
        self._file.write(values.astype(self._kind, copy=False).tobytes())

    def pieces(self) -> Iterator[Numbers]:
        self._file.seek(0)
        while block := self._file.read(_MEMORY_BYTES):
            yield np.frombuffer(block, self._kind)
