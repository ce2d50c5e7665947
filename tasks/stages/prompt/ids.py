"""Make each row's custom_id, the id of its request at the provider, and find ids that two rows would share.

A row's id is its key as text where that satisfies the provider's pattern, as it is: never trimmed, never lowered. Several
key columns are joined by `-`. A row without a usable key (null, wrong characters, too long, or no key in the job) is
`row-000000123`: its position in the dataset from 0, at least nine digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import IO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import InputError
from configs.providers.limits import PORTABLE_ID
from tasks.stages.arrow_columns import strings, to_numpy
from tasks.storage.temporary import spooled_file

Hashes = npt.NDArray[np.int64]

_ROWS_SHOWN = 10
_WORD, _LONG_ID = 8, 128
_MIX, _MIX_AGAIN = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WHOLE_NUMBERS = (pa.int64(), pa.int32())
_BINARY: tuple[Callable[[pa.DataType], bool], ...] = (
    *(pa.types.is_binary, pa.types.is_large_binary),
    *(pa.types.is_fixed_size_binary, pa.types.is_binary_view),
)


class IdMaker:
    """Makes the custom_ids of micro-batches.

    `numbered` appends the row's number to every key, so that keys may repeat.
    """

    def __init__(
        self, key: tuple[str, ...], pattern: re.Pattern[str] = PORTABLE_ID, *, numbered: bool = False
    ) -> None:
        self._key = key
        self._pattern = pattern
        self._numbered = numbered

    def ids(self, batch: pa.RecordBatch, numbers: Sequence[int]) -> list[str]:
        """One id per row; `numbers` are those of the rows in the dataset, from 0. `InputError`: no such key column."""
        if not self._key:
            return [f"row-{number:09d}" for number in numbers]
        if (whole_numbers := self._whole_numbers(batch)) is not None:
            return [*map(str, whole_numbers)]
        column = self._keys(batch)
        if not self._numbered and self._all_valid(column):
            return cast("list[str]", column.to_pylist())
        keys = _python_texts(column)
        if self._numbered:
            keys = [
                None if key is None else f"{key}-{number:09d}"
                for key, number in zip(keys, numbers, strict=True)
            ]
        valid = self._pattern.fullmatch
        return [
            key if key is not None and valid(key) else f"row-{number:09d}"
            for key, number in zip(keys, numbers, strict=True)
        ]

    def _whole_numbers(self, batch: pa.RecordBatch) -> list[int] | None:
        """The keys where they are numbers, all of them valid as they are: no text is made of them in Arrow and looked at again."""
        if self._numbered or len(self._key) > 1 or self._pattern is not PORTABLE_ID:
            return None
        column = _column(batch, self._key[0])
        is_plain = column.type in _WHOLE_NUMBERS and not column.null_count
        return cast("list[int]", to_numpy(column).tolist()) if is_plain else None

    def _all_valid(self, keys: pa.Array) -> bool:
        """Whether every key satisfies the pattern, asked of Arrow at once.

        Only for PORTABLE_ID: of other patterns, Arrow's RE2 and Python's `re` may disagree.
        """
        if self._pattern is not PORTABLE_ID or keys.null_count:
            return False
        return bool(pc.all(pc.match_substring_regex(keys, r"\A[a-zA-Z0-9_-]{1,64}\z")).as_py())

    def _keys(self, batch: pa.RecordBatch) -> pa.Array:
        texts = [_as_text(_column(batch, name)) for name in self._key]
        return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "-")


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if batch.schema.get_field_index(name) < 0:
        raise InputError(
            f"source.key: no column {name!r} in the dataset; it has: {', '.join(batch.schema.names)}"
        )
    return batch.column(name)


def _python_texts(column: pa.Array) -> list[str | None]:
    try:
        return cast("list[str | None]", column.to_pylist())
    except UnicodeDecodeError as error:  # Arrow takes any bytes for text
        raise InputError("source.key: a key is not UTF-8 text; choose another key") from error


def _as_text(column: pa.Array) -> pa.Array:
    """The column as text; nulls where its type has none (binary, lists, structs)."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if isinstance(kind, pa.UuidType):
        return strings([None if each is None else str(each) for each in column.to_pylist()])
    if isinstance(kind, pa.BaseExtensionType):
        return _as_text(column.storage)
    if not any(is_binary(kind) for is_binary in _BINARY):
        with suppress(pa.ArrowNotImplementedError):
            return column.cast(pa.string())
    return pa.nulls(len(column), pa.string())


def stable_hashes(ids: Sequence[str]) -> Hashes:
    """A 64-bit hash of each id, the same in every process."""
    texts = _as_bytes(ids)
    width = -(-texts.itemsize // _WORD)
    words = texts.astype(f"S{width * _WORD}").view(np.uint64).reshape(len(ids), width)
    hashes = np.zeros(len(ids), np.uint64)
    for place in range(width):
        word = words[:, place]
        # Every step can be undone: ids that differ in eight bytes alone never have the same hash.
        mixed = (hashes ^ word) * _MIX
        mixed ^= mixed >> np.uint64(32)
        mixed *= _MIX_AGAIN
        mixed ^= mixed >> np.uint64(29)
        # What only fills up to the longest id of a batch changes nothing.
        hashes = np.where(word, mixed, hashes)
    return hashes.view(np.int64)


def _as_bytes(ids: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """The ids as an array of bytes of one width; those that are long, or not ASCII, by their SHA-256."""
    try:
        texts = np.array(ids, "S")
        if texts.itemsize <= _LONG_ID:
            return texts
    except UnicodeEncodeError:
        pass
    return np.array([_short(custom_id) for custom_id in ids], "S")


def _short(custom_id: str) -> str:
    if custom_id.isascii() and len(custom_id) <= _LONG_ID:
        return custom_id
    return sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()


class DuplicateFinder:
    """Finds ids that occur twice, exactly, among a billion rows in some 50 MB of memory and 8 bytes a row of disk.

    The first pass keeps a 64-bit hash of every id, in sorted blocks. Equal hashes are suspects; the second pass, over
    the ids again, is `confirm_duplicates`. Nothing is on disk below `SPOOL_BYTES`.
    """

    BLOCK_IDS = 1 << 18
    SPOOL_BYTES = 2_000_000
    _PARTS = 1024

    def __init__(self) -> None:
        self._block: Hashes = np.empty(self.BLOCK_IDS, np.int64)
        self._block_used = 0
        self._part_offsets: list[Hashes] = []
        self._file: IO[bytes] | None = None

    def add(self, ids: Sequence[str]) -> None:
        """Remember these ids, as hashes."""
        self.add_hashes(stable_hashes(ids))

    def add_hashes(self, hashes: Hashes) -> None:
        """The same of what are 64-bit hashes already."""
        while hashes.size:
            fitting = hashes[: self.BLOCK_IDS - self._block_used]
            self._block[self._block_used : self._block_used + fitting.size] = fitting
            self._block_used += fitting.size
            hashes = hashes[fitting.size :]
            if self._block_used == self.BLOCK_IDS:
                self._spill()

    def suspects(self, limit: int = 10_000) -> set[int]:
        """Hashes that came at least twice, at most about `limit` of them: a few are enough to refuse the dataset."""
        repeated: set[int] = set()
        for hashes in self._sorted_parts():
            repeated.update(_repeated(hashes)[:limit].tolist())
            if len(repeated) >= limit:
                break
        return repeated

    def repeats(self) -> int:
        """How many hashes had come before."""
        return sum(int(np.count_nonzero(part[1:] == part[:-1])) for part in self._sorted_parts())

    def close(self) -> None:
        """Give the disk space back; garbage collection does so too."""
        if self._file is not None:
            self._file.close()

    def _sorted_block(self) -> Hashes:
        block = self._block[: self._block_used]
        block.sort()
        return block

    def _spill(self) -> None:
        """Write the current block, sorted, and remember where each part of the hashes' range begins in it."""
        if self._file is None:
            self._file = spooled_file(self.SPOOL_BYTES)
        block = self._sorted_block()
        starts = np.searchsorted(block, _part_starts(self._PARTS))
        offset = self._file.seek(0, 2) // block.itemsize
        self._file.write(block.tobytes())
        self._part_offsets.append(np.concatenate((starts, [block.size])) + offset)
        self._block_used = 0

    def _sorted_parts(self) -> Iterator[Hashes]:
        """All hashes, range by range, sorted. Hashes are spread evenly, so a part of their range is about the same share of
        every block: few enough of each are read at a time that all together are about one block."""
        if self._file is None:
            yield self._sorted_block()
            return
        if self._block_used:
            self._spill()
        parts_at_once = max(1, self._PARTS // len(self._part_offsets))
        for part in range(0, self._PARTS, parts_at_once):
            hashes = np.concatenate(list(self._parts(part, min(part + parts_at_once, self._PARTS))))
            hashes.sort()
            yield hashes

    def _parts(self, first: int, stop: int) -> Iterator[Hashes]:
        """The hashes of these parts of the range, block by block."""
        assert self._file is not None
        for offsets in self._part_offsets:
            start, end = int(offsets[first]), int(offsets[stop])
            self._file.seek(start * 8)
            yield np.frombuffer(self._file.read((end - start) * 8), np.int64)


def confirm_duplicates(
    suspects: Collection[int], id_batches: Iterable[tuple[Sequence[int], Sequence[str]]], limit: int = 5
) -> list[tuple[str, list[int]]]:
    """The first `limit` ids that really occur twice, each with the row numbers seen until then, 10 at most.

    `id_batches` are all ids again, with the numbers of their rows; it is not read further than needed.
    """
    seen: dict[str, list[int]] = {}
    duplicates: dict[str, list[int]] = {}
    for numbers, ids in id_batches:
        hashes = stable_hashes(ids).tolist()
        for row, custom_id, hashed in zip(numbers, ids, hashes, strict=True):
            if hashed in suspects:
                rows = seen.setdefault(custom_id, [])
                if len(rows) < _ROWS_SHOWN:
                    rows.append(row)
                if len(rows) == 2:
                    duplicates[custom_id] = rows
        if len(duplicates) >= limit:
            break
    return list(duplicates.items())[:limit]


def _part_starts(parts: int) -> Hashes:
    """Where each of so many equal parts of the 64-bit range begins."""
    return np.array([i * (1 << 64) // parts - (1 << 63) for i in range(parts)], np.int64)


def _repeated(ordered: Hashes) -> Hashes:
    """Values that occur more than once in a sorted array, each once."""
    later = ordered[1:]
    repeats = later[later == ordered[:-1]]
    # Not `np.unique`, which imports numpy.ma, where there is nothing to find.
    return np.unique(repeats) if repeats.size else repeats
