"""Merge a chunk's results into its rows: every row once, in source order, with one status.

Lines find their row by custom_id alone. Small results are parsed in one go; big ones are indexed first and
then merged range of rows by range of rows, so that memory stays bounded however long the answers are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from configs.errors import ConfigError, IntegrityError
from tasks.stages import arrow_columns
from tasks.stages.answers.columns import TEXT_COLUMN, AnswerColumn
from tasks.stages.answers.schema import Checker
from tasks.stages.cost.price import Price
from tasks.stages.merge.lines import (
    STATUSES,
    TOKENS,
    CacheCounts,
    LineCounts,
    ParsedLines,
    byte_size,
    index_lines,
    join_blocks,
    parse_block,
    read_blocks,
)
from tasks.stages.merge.row_reader import RowReader
from tasks.stages.merge.rows import Attempt, ChunkRows, Columns, RowMatches, match_rows
from tasks.stages.merge.taken_over import EarlierAnswers
from tasks.stages.output_columns import OUTPUT_COLUMNS, typed_columns
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.dialect import Parser
from tasks.stages.wire.outcome import ErrorClass
from tasks.storage.background_writer import BackgroundWriter

__all__ = ["Attempt", "AttemptStats", "ErrorCount", "MergeStats", "merge_chunk", "output_schema"]

WHOLE_BYTES = 96_000_000
RANGE_BYTES = 16_000_000
GROUP_ROWS = 16_384
GROUP_BYTES = 10_000_000
_TOP_ERRORS = 10
RETRY_ON = frozenset({"missing", *(each for each in ErrorClass if each.retryable)}) - {ErrorClass.REPLY_LOST}
"""What another attempt can help by default: everything but a fault of the request itself, and what may have been paid for."""
POOR_ANSWERS = (RowStatus.INVALID, RowStatus.TRUNCATED, RowStatus.REFUSED)
"""Statuses of answered rows that `retry.on` may name."""
_EXAMPLE_LENGTH = 300
_SHORT_TEXT = 32


@dataclass(frozen=True)
class AttemptStats:
    """The sums over one attempt's result lines, those that another attempt superseded included.

    `cost_usd` is None when there is no price or an answered line does not say its tokens. `answered` are the rows that the
    model answered, `counted` the lines that say their tokens, `output_p95` what 95 of 100 of their answers keep to.
    """

    lines: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    answered: int = 0
    counted: int = 0
    output_p95: int | None = None
    cache: CacheCounts = field(default_factory=CacheCounts)


@dataclass(frozen=True)
class ErrorCount:
    """How many rows ended with an error code, and the message of the first of them."""

    code: str
    rows: int
    example: str | None


@dataclass(frozen=True)
class MergeStats:
    """The counts of a merged chunk. `by_status` sums to `rows`.

    `unknown_ids` counts lines for ids that were not posted in their attempt, `duplicate_lines` lines beyond
    the first for one id in one attempt. `unanswered` are the custom_ids another attempt can help,
    `unanswered_copies` the rows that are copies of them, `to_ask` those ids that have an attempt left. `unpaid` are the rows
    for which the account could not pay in the latest attempt.
    """

    rows: int
    by_status: dict[str, int]
    errors: tuple[ErrorCount, ...]
    attempts: tuple[AttemptStats, ...]
    unknown_ids: int
    duplicate_lines: int
    unparsable_lines: int
    unanswered: tuple[str, ...]
    to_ask: tuple[str, ...]
    unpaid: int
    unanswered_copies: int = 0

    @property
    def missing(self) -> int:
        """Rows that are in no result file."""
        return self.by_status.get(RowStatus.MISSING, 0)

    @property
    def cost_usd(self) -> float | None:
        """All attempts together; None when the cost of any is unknown."""
        costs = [attempt.cost_usd for attempt in self.attempts]
        return None if None in costs else float(sum(cost for cost in costs if cost is not None))


def output_schema(
    source: pa.Schema,
    prefix: str,
    *,
    answer: pa.DataType | None = None,
    parsed: pa.DataType | None = None,
    carried: Sequence[str] | None = None,
    include: Collection[str] = (),
) -> pa.Schema:
    """The carried source columns as they are, then the added ones. ConfigError when names clash."""
    wanted = None if carried is None else frozenset(carried)
    missing = sorted((wanted or frozenset()) - set(source.names))
    if missing:
        raise ConfigError(f"source.columns: no column {missing[0]!r} in the source; correct the job file")
    kept = [each for each in source if wanted is None or each.name in wanted]
    typed = typed_columns(pa.string() if answer is None else answer, parsed, include)
    added = [pa.field(prefix + column.name, kind) for column, kind in typed]
    clash = sorted({each.name for each in kept} & {each.name for each in added})
    if clash:
        raise ConfigError(
            f"output.prefix: the source already has a column {clash[0]!r}; choose another prefix"
        )
    return pa.schema([*kept, *added], metadata=source.metadata)


def merge_chunk(
    rows: BinaryIO,
    lines: pa.Table,
    attempts: Sequence[Attempt],
    sink: BinaryIO,
    *,
    parser: Parser,
    answer_column: AnswerColumn = TEXT_COLUMN,
    prefix: str = "llm_",
    carried: Sequence[str] | None = None,
    checker: Checker | None = None,
    price: Price | None = None,
    retry_on: Collection[str] = RETRY_ON,
    max_attempts: int = 3,
    whole_bytes: int = WHOLE_BYTES,
    range_bytes: int = RANGE_BYTES,
    earlier: EarlierAnswers | None = None,
    include: Collection[str] = (),
) -> MergeStats:
    """Write the chunk's enriched Parquet to `sink`.

    `rows` is the chunk's source rows as an Arrow stream; `lines` has custom_id, skip_code, skip_message (strings), one
    per row in the same order; rows for which it names a `reuse_run` get their answers from `earlier`. Result files must be
    seekable and near: big ones are read line by line. `include` are the columns by choice, which `parser` gives. `price` is
    that of batches. `retry_on` are the reasons of `retry.on`.
    Raises IntegrityError when the counts do not reconcile, ConfigError when column names clash.
    """
    source = RowReader(rows, carried)
    schema = output_schema(
        source.schema,
        prefix,
        answer=answer_column.type,
        parsed=checker and checker.type,
        carried=carried,
        include=include,
    )
    chunk = ChunkRows(lines, attempts)
    account = _Account(chunk, attempts, price, answer_column.parsed_type, retry_on, max_attempts)
    columns = Columns(chunk, attempts, answer_column, checker, earlier, include)
    if earlier is not None:
        earlier.gather(
            {
                column.name: kind
                for column, kind in typed_columns(answer_column.type, checker and checker.type, include)
            }
        )
    with BackgroundWriter(
        sink, schema, GROUP_ROWS, **writer_options(source.first(), schema, prefix)
    ) as writer:
        for lo, hi, blocks in _ranges(chunk, attempts, parser, whole_bytes, range_bytes):
            parsed = account.parse(parser, blocks)
            matches = match_rows(chunk, attempts, parsed, lo, hi, retry_on, columns.validity(parsed))
            start = lo
            while start < hi:
                stop = start + source.rows_within(min(GROUP_ROWS, hi - start), GROUP_BYTES)
                added = columns.of(matches, parsed, start, stop)
                account.errors(added["error_code"], added["error_message"])
                writer.write(_enriched(source.take(stop - start), added, schema))
                start = stop
            account.matches(matches)
    source.finish()
    return account.stats()


def most_frequent(rows: Counter[str], examples: Mapping[str, str | None]) -> tuple[ErrorCount, ...]:
    """The error codes of most rows, each with the beginning of what one row was told."""
    return tuple(
        ErrorCount(code, count, (examples[code] or "")[:_EXAMPLE_LENGTH] or None)
        for code, count in rows.most_common(_TOP_ERRORS)
    )


def writer_options(first: pa.RecordBatch, schema: pa.Schema, prefix: str) -> dict[str, Any]:
    """zstd at its fastest; dictionaries only where values are short texts that repeat. `first` are source rows."""
    written = frozenset(schema.names)
    short = [
        name
        for name, column in zip(first.schema.names, first.columns, strict=True)
        if name in written and _is_short_text(column)
    ]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": short + [prefix + column.name for column in OUTPUT_COLUMNS if column.repeats],
    }


def _is_short_text(column: pa.Array) -> bool:
    kind = column.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    return bool(text and column.nbytes <= _SHORT_TEXT * max(1, len(column)))


def _ranges(
    chunk: ChunkRows,
    attempts: Sequence[Attempt],
    parser: Parser,
    whole_bytes: int,
    range_bytes: int,
) -> Iterator[tuple[int, int, Iterable[tuple[int, bytes]]]]:
    """(lo, hi, blocks): row ranges with the bytes of all their lines, as (attempt, block) pairs."""
    files = [(number, file) for number, attempt in enumerate(attempts) for file in attempt.files]
    if sum(byte_size(file) for _, file in files) <= whole_bytes:
        yield 0, len(chunk), ((number, block) for number, file in files for block in read_blocks(file))
        return
    index = index_lines(files, parser, chunk.rows_of)
    for lo, hi, lines in index.ranges(len(chunk), range_bytes):
        yield lo, hi, index.blocks(lines)


def _enriched(source: pa.Table, added: dict[str, pa.Array], schema: pa.Schema) -> pa.Table:
    arrays = [*source.columns, *added.values()]
    return pa.Table.from_arrays(arrays, schema=schema)


def _attempt_stats(counts: LineCounts) -> AttemptStats:
    tokens = dict(zip(TOKENS, counts.tokens.tolist(), strict=True))
    return AttemptStats(
        lines=counts.lines,
        cost_usd=counts.cost_usd,
        answered=len(counts.answered),
        counted=counts.counted,
        output_p95=counts.output_p95(),
        cache=counts.cache,
        **tokens,
    )


@dataclass
class _Account:
    """Adds up a chunk's counts while it is merged."""

    chunk: ChunkRows
    attempts: Sequence[Attempt]
    price: Price | None
    answer: pa.DataType
    retry_on: Collection[str]
    max_attempts: int
    counts: list[LineCounts] = field(init=False)
    by_status: Any = field(init=False)
    unknown: int = 0
    duplicates: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str | None] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)
    to_ask: list[str] = field(default_factory=list)
    unpaid: int = 0

    def __post_init__(self) -> None:
        self.counts = [LineCounts() for _ in self.attempts]
        self.poor = np.array([each in POOR_ANSWERS and each in self.retry_on for each in STATUSES])
        self.counting = np.array([attempt.counts for attempt in self.attempts], bool)
        self.by_status = np.zeros(len(STATUSES), np.int64)

    def parse(self, parser: Parser, blocks: Iterable[tuple[int, bytes]]) -> ParsedLines | None:
        """All blocks of a range as columns, counted on the way."""
        parsed = []
        for attempt, block in blocks:
            lines = parse_block(parser, self.answer, block)
            asked = self.attempts[attempt]
            price = self.price if asked.lane is None else asked.lane_price
            usd = self.counts[attempt].add(lines, price)
            parsed.append((lines.batch, lines.status, lines.error_class, attempt, usd))
        return join_blocks(parsed)

    def errors(self, codes: pa.Array, messages: pa.Array) -> None:
        """Count the rows' final error codes."""
        if codes.null_count == len(codes):
            return
        wanted = codes.is_valid()
        pairs = zip(codes.filter(wanted).to_pylist(), messages.filter(wanted).to_pylist(), strict=True)
        for code, message in pairs:
            self.codes[code] += 1
            self.examples.setdefault(code, message)

    def matches(self, matches: RowMatches) -> None:
        """Count a range's final statuses; call it after its columns are made."""
        self.by_status += np.bincount(matches.status, minlength=len(STATUSES))
        self.unknown += matches.unknown
        self.duplicates += matches.duplicates
        rows = slice(matches.lo, matches.lo + len(matches.status))
        asks = matches.asks_again | (self.poor[matches.status] & ~self.chunk.reused[rows])
        had = (self.chunk.posted[:, rows] & ~matches.unpaid)[self.counting].sum(axis=0)
        # Whom the account could not pay for is asked again in any case.
        left = asks & ((had < self.max_attempts) | matches.unpaid[-1:].any(axis=0))
        ids = self.chunk.ids[rows]
        self.unanswered += ids.take(arrow_columns.indices(np.flatnonzero(asks))).to_pylist()
        self.to_ask += ids.take(arrow_columns.indices(np.flatnonzero(left))).to_pylist()
        self.unpaid += int(matches.unpaid[-1:].sum())

    def stats(self) -> MergeStats:
        """The finished account; IntegrityError unless every row has exactly one status."""
        by_status = {str(each): int(n) for each, n in zip(STATUSES, self.by_status, strict=True) if n}
        if sum(by_status.values()) != len(self.chunk):
            raise IntegrityError(
                f"{sum(by_status.values())} statuses for {len(self.chunk)} rows; nothing is published"
            )
        return MergeStats(
            rows=len(self.chunk),
            by_status=by_status,
            errors=most_frequent(self.codes, self.examples),
            attempts=tuple(_attempt_stats(each) for each in self.counts),
            unknown_ids=self.unknown,
            duplicate_lines=self.duplicates,
            unparsable_lines=sum(each.unparsable for each in self.counts),
            unanswered=tuple(self.unanswered),
            to_ask=tuple(self.to_ask),
            unpaid=self.unpaid,
        )
