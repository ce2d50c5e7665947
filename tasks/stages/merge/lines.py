"""Read result files into Arrow: blocks of lines, an index of lines for big files, and parsed lines as columns."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from math import isnan
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.stages import arrow_columns
from tasks.stages.cost.price import Price
from tasks.stages.output_columns import LINE_COLUMNS, OutputColumn
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.dialect import Parser
from tasks.stages.wire.outcome import REPLY_LOST, ErrorClass
from tasks.stages.wire.unreadable import UNREADABLE_LINE, ends_within_lines

BLOCK_BYTES = 1 << 20
STATUSES = tuple(RowStatus)
ERROR_CLASSES = tuple(ErrorClass)
_STATUS_CODE = {status: code for code, status in enumerate(STATUSES)}
_CLASS_CODE: dict[ErrorClass | None, int] = {None: -1} | {
    each: code for code, each in enumerate(ERROR_CLASSES)
}
_CACHE_WRITES = ("cache_write_tokens", "cache_write_1h_tokens")
TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_ID = re.compile(rb'\s*\{\s*(?:"id"\s*:\s*"[^"\\]*"\s*,\s*)?"(?:custom_id|key)"\s*:\s*"([^"\\]*)"')

_NEWLINE = 10

Numbers = np.ndarray[Any, Any]
_NONE: Numbers = np.zeros(0, np.int64)
HAS_ANSWER: Numbers = np.array([status.has_answer for status in STATUSES], dtype=bool)
"""By status code: whether the model answered."""


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file from its start in blocks of whole lines; only the last may lack its newline."""
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        yield block if block.endswith(b"\n") else block + file.readline()


def byte_size(file: BinaryIO) -> int:
    """Length of a seekable file."""
    return file.seek(0, io.SEEK_END)


@dataclass(frozen=True)
class ParsedLines:
    """Readable lines as columns: `table` (custom_id, and what the output keeps of a line) and arrays beside it, equal in
    length: places in STATUSES and ERROR_CLASSES (-1: none), the number of the attempt, and the cost, NaN where unknown."""

    table: pa.Table
    status: Numbers
    error_class: Numbers
    attempt: Numbers
    usd: Numbers

    @property
    def has_answer(self) -> Numbers:
        """Mask of the lines that hold an answer."""
        return HAS_ANSWER[self.status]


@dataclass(frozen=True)
class ParsedBlock:
    """The lines of a block: their columns, custom_ids, places in STATUSES and ERROR_CLASSES (-1: none), how many more could
    not be parsed, and the tokens that each wrote to a cache, for each kind of cache; nothing where none did."""

    batch: pa.RecordBatch
    ids: Sequence[str]
    status: Numbers
    error_class: Numbers
    unparsable: int
    cache_writes: Sequence[Numbers]


@dataclass
class CacheCounts:
    """What a prompt cache did to an attempt: tokens written to it, what they cost more than as plain input (None where no
    price says), and what reading from it saved."""

    written_tokens: int = 0
    write_usd: float | None = 0.0
    saved_usd: float | None = 0.0

    def add(self, price: Price | None, counts: Sequence[Numbers], writes: Sequence[Numbers]) -> None:
        """Count a block's lines: their input, output and cached tokens, and those written."""
        used = bool(writes) or bool(counts[2].any())
        self.written_tokens += sum(int(each.sum()) for each in writes)
        if not used:  # seldom, and a million rows come here
            return
        if price is None:
            self.write_usd = self.saved_usd = None
            return
        written = float(price.cache_write_usd(counts[0], *writes).sum()) if writes else 0.0
        self.write_usd = None if self.write_usd is None or isnan(written) else self.write_usd + written
        if self.saved_usd is not None:
            self.saved_usd += float(price.cache_saving_usd(counts[0], counts[2]).sum())


@dataclass
class LineCounts:
    """The sums over one attempt's lines, superseded and unmatched ones included; the tokens of an answer that stands there
    twice are counted once."""

    lines: int = 0
    unparsable: int = 0
    tokens: Numbers = field(default_factory=lambda: np.zeros(len(TOKENS), np.int64))
    cost_usd: float | None = 0.0
    counted: int = 0  # answers that say their tokens
    outputs: list[Numbers] = field(default_factory=list)  # tokens of each of those
    cache: CacheCounts = field(default_factory=CacheCounts)
    answered: set[str] = field(default_factory=set)

    def add(self, block: ParsedBlock, price: Price | None) -> Numbers:
        """Count a block's lines, tokens and cost; the cost of each line. An answer that does not say its tokens makes it
        unknown (NaN), as does a lost reply, and a second answer of a row costs nothing."""
        batch, status, cache_writes = block.batch, block.status, block.cache_writes
        self.lines += len(status) + block.unparsable
        codes = batch.column("error_code")
        broken = codes.to_pylist().count(UNREADABLE_LINE) if codes.null_count < len(codes) else 0
        self.unparsable += block.unparsable + broken
        first = self._first_answers(block.ids, HAS_ANSWER[status])
        if first is not None:
            batch, status = batch.filter(arrow_columns.mask(first)), status[first]
            cache_writes = [writes[first] for writes in cache_writes]
        counts = [arrow_columns.to_numpy(batch.column(name)) for name in TOKENS]
        self.tokens += [int(each.sum()) for each in counts]
        self._count_answers(batch, counts)
        self.cache.add(price, counts, cache_writes)
        usd = _usd_of_each(price, batch, status, counts, cache_writes)
        total = float(usd.sum())
        self.cost_usd = None if self.cost_usd is None or isnan(total) else self.cost_usd + total
        if first is None:
            return usd
        of_all = np.zeros(len(first))
        of_all[first] = usd
        return of_all

    def output_p95(self) -> int | None:
        """Tokens that 95 of 100 answers keep to; None without one that says its tokens."""
        return int(np.quantile(np.concatenate(self.outputs), 0.95)) if self.counted else None

    def _count_answers(self, batch: pa.RecordBatch, counts: Sequence[Numbers]) -> None:
        said = arrow_columns.to_numpy(batch.column("input_tokens").is_valid())
        self.counted += int(said.sum())
        self.outputs.append(counts[1][said])

    def _first_answers(self, ids: Sequence[str], has_answer: Numbers) -> Numbers | None:
        """Mask of the lines whose row was not answered by a line before; None when that is all of them."""
        new = set(ids)
        if len(new) == len(ids) and self.answered.isdisjoint(new):
            self.answered.update(new if has_answer.all() else compress(ids, has_answer))
            return None
        first = np.ones(len(ids), bool)
        for place, custom_id in enumerate(ids):
            first[place] = custom_id not in self.answered
            if has_answer[place]:
                self.answered.add(custom_id)
        return first


def _usd_of_each(
    price: Price | None,
    batch: pa.RecordBatch,
    status: Numbers,
    counts: Sequence[Numbers],
    cache_writes: Sequence[Numbers],
) -> Numbers:
    """What each line costs; NaN where that is unknown."""
    if price is None or price.is_free:
        return np.full(len(status), np.nan if price is None else 0.0)
    usd = price.usd_of_each(*counts[:3])
    if cache_writes:
        usd = usd + price.cache_write_usd(counts[0], *cache_writes)
    uncounted = batch.column("input_tokens").is_null()
    if uncounted.true_count:
        usd[arrow_columns.to_numpy(uncounted) & HAS_ANSWER[status]] = np.nan
        codes = batch.column("error_code")
        if codes.null_count < len(codes):
            usd[arrow_columns.to_numpy(pc.equal(codes.cast(pa.string()), REPLY_LOST))] = np.nan
    return usd


def parse_block(parser: Parser, answer: pa.DataType, block: bytes) -> ParsedBlock:
    """The lines of one block of bytes; `answer` is the type of their answers."""
    by_field = parser.columns(block)
    unparsable = by_field["custom_id"].count(None)
    if unparsable:
        keep = [custom_id is not None for custom_id in by_field["custom_id"]]
        by_field = {name: list(compress(values, keep)) for name, values in by_field.items()}
    arrays = {
        column.name: _array(column, by_field[name], answer)
        for column, name in LINE_COLUMNS
        if name in by_field
    }
    arrays["custom_id"] = arrow_columns.strings(by_field["custom_id"])
    status = _codes(by_field["status"], _STATUS_CODE)
    error_class = _codes(by_field["error_class"], _CLASS_CODE)
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    writes = [by_field[name] for name in _CACHE_WRITES]
    some = any(map(any, writes))  # seldom, and a million rows look here
    written = (
        [arrow_columns.to_numpy(arrow_columns.build(each, pa.int64())) for each in writes] if some else []
    )
    return ParsedBlock(batch, by_field["custom_id"], status, error_class, unparsable, written)


def _array(column: OutputColumn, values: Sequence[Any], answer: pa.DataType) -> pa.Array:
    if column.repeats:
        return arrow_columns.few_strings(values)
    return arrow_columns.build(values, answer if column.type is None else column.type)


def _codes(values: Sequence[Any], codes: dict[Any, int]) -> Numbers:
    if values and values.count(values[0]) == len(values):
        return np.full(len(values), codes[values[0]], np.int8)
    return np.fromiter(map(codes.__getitem__, values), np.int8, len(values))


def join_blocks(blocks: list[tuple[pa.RecordBatch, Numbers, Numbers, int, Numbers]]) -> ParsedLines | None:
    """Blocks, each with its attempt number last, as one; None when there is none. Empties `blocks`."""
    if not blocks:
        return None
    status = np.concatenate([block[1] for block in blocks])
    error_class = np.concatenate([block[2] for block in blocks])
    attempt = np.concatenate([np.full(len(block[1]), block[3], np.int64) for block in blocks])
    usd = np.concatenate([block[4] for block in blocks])
    table = pa.Table.from_batches([block[0] for block in blocks])
    blocks.clear()
    columns = {}
    for name in table.column_names:
        columns[name] = table.column(name).combine_chunks()
        table = table.drop_columns([name])  # frees the pieces of this column before the next is joined
    return ParsedLines(pa.table(columns), status, error_class, attempt, usd)


def first_vector_size(files: Iterable[BinaryIO], parser: Parser) -> int | None:
    """How long the first vector in the files is; None when there is none."""
    for file in files:
        for block in read_blocks(file):
            for raw in block.split(b"\n"):
                answer = parser.parse_line(raw).answer if raw.strip() else None
                if answer:
                    return len(answer)
    return None


@dataclass(frozen=True)
class LineIndex:
    """Where every line of several files is. Parallel arrays; `row` is -1 for an id nobody knows."""

    files: tuple[tuple[int, BinaryIO], ...]
    row: Numbers
    file: Numbers
    offset: Numbers
    length: Numbers

    def ranges(self, rows: int, range_bytes: int) -> Iterator[tuple[int, int, Numbers]]:
        """(lo, hi, lines): consecutive row ranges whose lines sum to about `range_bytes`, then the
        lines of no row as empty ranges (rows, rows)."""
        order = np.argsort(self.row, kind="stable")
        unmatched = int(np.searchsorted(self.row[order], 0))
        known = order[unmatched:]
        size = np.bincount(self.row[known], weights=self.length[known], minlength=rows)
        total = np.concatenate([[0.0], np.cumsum(size)])
        first = np.searchsorted(self.row[known], np.arange(rows + 1))
        lo = 0
        while lo < rows:
            hi = max(lo + 1, int(np.searchsorted(total, total[lo] + range_bytes, side="right")) - 1)
            yield lo, hi, known[first[lo] : first[hi]]
            lo = hi
        rowless = order[:unmatched]
        sizes = np.cumsum(self.length[rowless])
        for group in np.split(rowless, np.flatnonzero(np.diff(sizes // range_bytes)) + 1):
            if len(group):
                yield rows, rows, group

    def blocks(self, lines: Numbers) -> Iterator[tuple[int, bytes]]:
        """(attempt, block) of the given lines, in file order."""
        ordered = lines[np.lexsort((self.offset[lines], self.file[lines]))]
        parts: list[bytes] = []
        size, current = 0, -1
        for line_number in ordered.tolist():
            number = int(self.file[line_number])
            if parts and (number != current or size >= BLOCK_BYTES):
                yield self.files[current][0], b"".join(parts)
                parts, size = [], 0
            current = number
            file = self.files[number][1]
            file.seek(int(self.offset[line_number]))
            line = file.read(int(self.length[line_number]))
            parts.append(line if line.endswith(b"\n") else line + b"\n")
            size += len(line)
        if parts:
            yield self.files[current][0], b"".join(parts)


def index_lines(
    files: Iterable[tuple[int, BinaryIO]],
    parser: Parser,
    rows_of_ids: Callable[[pa.Array], Numbers],
) -> LineIndex:
    """Finds every line of (attempt, file) pairs; `rows_of_ids` maps an array of ids to row numbers."""
    listed = tuple(files)
    ids, numbers, starts, ends = [arrow_columns.strings([])], [], [], []
    for number, (_, file) in enumerate(listed):
        base = 0
        for block in read_blocks(file):
            stops = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE) + 1
            if within := ends_within_lines(block):
                stops = np.union1d(stops, within)
            if not block.endswith(b"\n"):
                stops = np.append(stops, len(block))
            begins = np.concatenate([[0], stops[:-1]])
            pairs = zip(begins.tolist(), stops.tolist(), strict=True)
            ids.append(arrow_columns.strings([_line_id(block, lo, hi, parser) for lo, hi in pairs]))
            numbers.append(np.full(len(stops), number))
            starts.append(base + begins)
            ends.append(base + stops)
            base += len(block)
    start, end = np.concatenate([_NONE, *starts]), np.concatenate([_NONE, *ends])
    row = rows_of_ids(pa.concat_arrays(ids))
    return LineIndex(listed, row, np.concatenate([_NONE, *numbers]), start, end - start)


def _line_id(block: bytes, start: int, end: int, parser: Parser) -> str | None:
    match = _ID.match(block, start, end)
    if match is not None:
        try:
            return match[1].decode()
        except UnicodeDecodeError:
            return None
    return parser.parse_line(block[start:end]).custom_id
