"""Match result lines to rows and build the output columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import IntegrityError
from tasks.stages import arrow_columns
from tasks.stages.answers.columns import AnswerColumn, Problems, VectorColumn
from tasks.stages.answers.schema import Checker
from tasks.stages.cost.price import Price
from tasks.stages.merge.lines import ERROR_CLASSES, HAS_ANSWER, STATUSES, Numbers, ParsedLines
from tasks.stages.merge.taken_over import REUSED, EarlierAnswers, take_over
from tasks.stages.output_columns import LINE_COLUMNS, OUTPUT_COLUMNS
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.outcome import ErrorClass, classify, failure_status

SUCCEEDED, INVALID, MISSING, SKIPPED, CANCELLED = (
    STATUSES.index(status)
    for status in (
        RowStatus.SUCCEEDED,
        RowStatus.INVALID,
        RowStatus.MISSING,
        RowStatus.SKIPPED,
        RowStatus.CANCELLED,
    )
)
BILLING = ERROR_CLASSES.index(ErrorClass.BILLING)
# A line's rank is made of these and its number: the first good answer before any poor one, that before any other line, and of
# those the later attempt before the earlier one.
_ATTEMPT_RANK = 1 << 40
_ANSWER_RANK = 1 << 60
_GOOD_RANK = 1 << 61
# Rows whose parsed answers are Python objects at the same time: those of a whole row group keep the garbage collector busy
# for longer than it takes to make them.
_CHECKED_AT_ONCE = 256

IsValid = Callable[[int], bool]
"""Whether the answer in that line is what the job asks for, as far as its status does not say so."""


@dataclass(frozen=True)
class Attempt:
    """One posting of (some of) the chunk's rows and what came back.

    `files` are seekable binary files, output and error file in any order, empty ones allowed. `posted` holds
    the custom_ids of its requests; None is every row that is not skipped. `error` is (code, message) of a
    batch that failed, expired or was cancelled as a whole: posted rows without a line end with it. `counts` says whether it
    counts against the most attempts that a row gets. One that real-time calls answered has their `lane` and its price.
    """

    files: Sequence[BinaryIO] = ()
    posted: Collection[str] | pa.Array | None = None
    batch_id: str | None = None
    error: tuple[str, str | None] | None = None
    counts: bool = True
    lane: str | None = None
    lane_price: Price | None = None


class ChunkRows:
    """The chunk's rows by custom_id, and which attempt posted which. A row that takes over an earlier answer, one
    that asks what another row asks, and one that is skipped were not asked: no line is for them."""

    def __init__(self, lines: pa.Table, attempts: Sequence[Attempt]) -> None:
        self.ids = _texts(lines.column("custom_id"))
        self.skip_code = _texts(lines.column("skip_code"))
        self.skip_message = _texts(lines.column("skip_message"))
        self.skipped: Numbers = arrow_columns.to_numpy(self.skip_code.is_valid())
        self.reused = _has_value(lines, "reuse_run")
        self.copies = _has_value(lines, "same_as")
        self._not_asked = self.skipped | self.reused | self.copies
        self._asked = np.flatnonzero(~self._not_asked)
        self._asked_ids = self.ids.take(arrow_columns.indices(self._asked))
        if pc.count_distinct(self._asked_ids, mode="all").as_py() != len(self._asked):
            raise IntegrityError(
                "two rows of one chunk share a custom_id; prepare the run again with unique keys"
            )
        self.posted = np.zeros((len(attempts), len(self.ids)), bool)
        for number, attempt in enumerate(attempts):
            self.posted[number] = self._posted(number, attempt)
        unposted = ~self.posted.any(axis=0) if len(attempts) else np.zeros(len(self.ids), bool)
        self.never_posted: Numbers = unposted & ~self._not_asked  # though others of the chunk were

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: pa.Array, lo: int = 0, hi: int | None = None) -> Numbers:
        """Row number of each id; -1 where no asked row of lo..hi has it."""
        first, last = np.searchsorted(self._asked, [lo, len(self) if hi is None else hi]).tolist()
        if first == last:
            return np.full(len(ids), -1, np.int64)
        places = pc.index_in(ids, value_set=self._asked_ids[first:last])
        place = arrow_columns.to_numpy(places, -1).astype(np.int64)
        return np.where(place < 0, -1, self._asked[first + place])

    def _posted(self, number: int, attempt: Attempt) -> Numbers:
        if attempt.posted is None:
            return ~self._not_asked
        ids = attempt.posted
        rows = self.rows_of(ids if isinstance(ids, pa.Array) else arrow_columns.strings(list(ids)))
        if (rows < 0).any():
            raise IntegrityError(
                f"attempt {number + 1} posted a custom_id that is not in its chunk; the run folder is damaged"
            )
        mask = np.zeros(len(self.ids), bool)
        mask[rows] = True
        return mask


@dataclass(frozen=True)
class RowMatches:
    """Where the statuses of rows lo..hi come from; arrays of one entry a row.

    `line` is the number of the matching result line and `batch_error` the attempt whose error as a whole stands in for
    one, -1 where there is none. `attempt` is the attempt that either is of, or else the latest that posted the row; -1
    where none did. `status` are places in STATUSES; `asks_again` says that another attempt is wanted. `usd` is what all the
    row's lines cost, NaN where unknown. `unpaid` has a row for each attempt: it was refused since the account cannot pay.
    """

    lo: int
    line: Numbers
    batch_error: Numbers
    attempt: Numbers
    status: Numbers
    asks_again: Numbers
    usd: Numbers
    unpaid: Numbers
    duplicates: int
    unknown: int


def match_rows(
    rows: ChunkRows,
    attempts: Sequence[Attempt],
    parsed: ParsedLines | None,
    lo: int,
    hi: int,
    retry_on: Collection[str],
    is_valid: IsValid | None = None,
) -> RowMatches:
    """Find the line or batch error that decides each of the rows lo..hi.

    A good answer beats everything, the earliest first; then a poor one, the latest first; without any the latest attempt
    decides, its first line first. A batch error decides rows that its attempt posted and left without a line. `retry_on` are
    the error classes, and `missing`, that another attempt is wanted for; where the account could not pay, one always is.
    """
    matches = _without_batch_errors(rows, parsed, lo, hi, retry_on, is_valid)
    posted = rows.posted[:, lo:hi]
    _apply_batch_errors(matches, posted, attempts, retry_on)
    undecided = matches.attempt < 0
    for number, mask in enumerate(posted):
        matches.attempt[undecided & mask] = number
    skipped = rows.skipped[lo:hi]
    matches.status[skipped] = SKIPPED
    matches.status[rows.reused[lo:hi]] = REUSED
    matches.asks_again[skipped | rows.copies[lo:hi] | HAS_ANSWER[matches.status]] = False
    return matches


def _without_batch_errors(
    rows: ChunkRows,
    parsed: ParsedLines | None,
    lo: int,
    hi: int,
    retry_on: Collection[str],
    is_valid: IsValid | None,
) -> RowMatches:
    """What the lines say of the rows; a row without one is missing."""
    line = np.full(hi - lo, -1, np.int64)
    usd = np.zeros(hi - lo)
    unpaid = np.zeros((len(rows.posted), hi - lo), bool)
    duplicates = unknown = 0
    if parsed is not None:
        duplicates, unknown = _match_lines(rows, parsed, lo, line, usd, unpaid, is_valid)
    has_line = line >= 0
    without = np.where(rows.never_posted[lo:hi], CANCELLED, MISSING)  # a run that goes on posts them
    status = np.where(has_line, _pick(parsed.status if parsed else None, line), without).astype(np.int8)
    wanted = np.array([_is_wanted(each, retry_on) for each in ERROR_CLASSES] + [False])  # code -1
    error_class = _pick(parsed.error_class if parsed else None, line)
    return RowMatches(
        lo=lo,
        line=line,
        batch_error=np.full(hi - lo, -1, np.int64),
        attempt=np.where(has_line, _pick(parsed.attempt if parsed else None, line), -1),
        status=status,
        asks_again=np.where(
            has_line, wanted[error_class], ("missing" in retry_on) | rows.never_posted[lo:hi]
        ),
        usd=usd,
        unpaid=unpaid,
        duplicates=duplicates,
        unknown=unknown,
    )


def _is_wanted(error_class: ErrorClass, retry_on: Collection[str]) -> bool:
    return error_class is ErrorClass.BILLING or (error_class.retryable and error_class in retry_on)


def _match_lines(
    rows: ChunkRows,
    parsed: ParsedLines,
    lo: int,
    line: Numbers,
    usd: Numbers,
    unpaid: Numbers,
    is_valid: IsValid | None,
) -> tuple[int, int]:
    """Put the number of the best line of each row into `line`, what all of them cost into `usd`, and where the account could
    not pay into `unpaid`; how many lines were duplicates, how many unknown."""
    row = rows.rows_of(parsed.table.column("custom_id").chunk(0), lo, lo + len(line))
    number = np.arange(len(row))
    known = row >= 0
    known[known] = rows.posted[parsed.attempt[known], row[known]]
    row, number, attempt = row[known], number[known], parsed.attempt[known]
    usd += np.bincount(row - lo, weights=parsed.usd[known], minlength=len(usd))
    refused = parsed.error_class[known] == BILLING
    unpaid[attempt[refused], row[refused] - lo] = True
    good = parsed.status[known] == SUCCEEDED
    if is_valid is not None:
        _check_several(row - lo, number, good, is_valid)
    # files come in the order of attempts, so the line number breaks every tie
    rank = np.where(parsed.has_answer[known], _ANSWER_RANK, 0) + attempt * _ATTEMPT_RANK - number
    rank = np.where(good, _GOOD_RANK - number, rank)
    each_once = np.bincount((row - lo) * len(rows.posted) + attempt)
    duplicates = len(row) - int(np.count_nonzero(each_once))
    if duplicates or len(rows.posted) > 1:
        order = np.argsort(rank, kind="stable")
        row, number = row[order], number[order]
    line[row - lo] = number  # the last assignment, the best rank, stays
    return duplicates, int((~known).sum())


def _check_several(row: Numbers, number: Numbers, good: Numbers, is_valid: IsValid) -> None:
    """Of a row with several answers that look good, some may not be what was asked for: those are `good` no more."""
    several = np.bincount(row[good]) > 1
    for place in np.flatnonzero(good).tolist() if several.any() else ():
        if several[row[place]]:
            good[place] = is_valid(int(number[place]))


def _pick(values: Numbers | None, places: Numbers) -> Numbers:
    """values[places]; anything for a negative place, and for no values at all."""
    return values[places] if values is not None and len(values) else np.zeros(len(places), np.int64)


def _apply_batch_errors(
    matches: RowMatches, posted: Numbers, attempts: Sequence[Attempt], retry_on: Collection[str]
) -> None:
    """Let the error of a batch as a whole decide the rows that it left without a line."""
    for number, attempt in enumerate(attempts):
        if attempt.error is None:
            continue
        mask = posted[number] & (matches.attempt < number) & ~HAS_ANSWER[matches.status]
        code = attempt.error[0]
        error_class = classify(code)
        matches.status[mask] = STATUSES.index(failure_status(code, error_class))
        matches.asks_again[mask] = _is_wanted(error_class, retry_on)
        matches.unpaid[number] |= mask & (error_class is ErrorClass.BILLING)
        matches.attempt[mask] = number
        matches.batch_error[mask] = number


class Columns:
    """The added columns of row ranges, in the order of `output_schema`."""

    def __init__(
        self,
        rows: ChunkRows,
        attempts: Sequence[Attempt],
        answer_column: AnswerColumn,
        checker: Checker | None,
        earlier: EarlierAnswers | None,
        include: Collection[str] = (),
    ) -> None:
        self._rows = rows
        self._line_columns = [
            column for column, _ in LINE_COLUMNS if not column.by_choice or column.name in include
        ]
        self._earlier = earlier
        self._answer_column = answer_column
        self._checker = checker
        self._batch_ids = [attempt.batch_id for attempt in attempts]
        self._lanes = [attempt.lane for attempt in attempts]
        self._codes = [attempt.error[0] if attempt.error else None for attempt in attempts]
        self._messages = [attempt.error[1] if attempt.error else None for attempt in attempts]

    def validity(self, parsed: ParsedLines | None) -> IsValid | None:
        """Whether the answer of a line satisfies the schema, or is a vector of the right size; None where every one is good."""
        checker, column = self._checker, self._answer_column
        if parsed is None or (checker is None and not isinstance(column, VectorColumn)):
            return None
        answers, ids = parsed.table.column("answer").chunk(0), parsed.table.column("custom_id").chunk(0)

        def is_valid(line: int) -> bool:
            if checker is not None:
                return checker.check(answers[line].as_py())[1] is None
            return not column.convert(answers[line : line + 1], ids[line : line + 1])[1]

        return is_valid

    def of(self, matches: RowMatches, parsed: ParsedLines | None, lo: int, hi: int) -> dict[str, pa.Array]:
        """Columns without prefix for rows lo..hi of the chunk; may set statuses of `matches`."""
        cut = slice(lo - matches.lo, hi - matches.lo)
        status, batch_error = matches.status[cut], matches.batch_error[cut]
        columns = self._from_lines(parsed, matches.line[cut])
        skips = {"error_code": self._rows.skip_code[lo:hi], "error_message": self._rows.skip_message[lo:hi]}
        for name, texts in (("error_code", self._codes), ("error_message", self._messages)):
            columns[name] = _replace_texts(columns[name], texts, batch_error, skips[name])
        columns["answer"], problems = self._answer_column.convert(columns["answer"], self._rows.ids[lo:hi])
        if self._checker is not None:
            columns["parsed"], problems, remarks = _check(self._checker, columns["answer"], status)
            columns["error_message"] = _remarked(columns["error_message"], remarks)
        if problems:
            _mark_invalid(columns, status, problems)
        posted = self._rows.posted[:, lo:hi] & ~matches.unpaid[:, cut]
        columns["attempts"] = arrow_columns.from_numpy(posted.sum(axis=0, dtype=np.int32))
        columns["custom_id"] = self._rows.ids[lo:hi]
        columns["batch_id"] = arrow_columns.lookup(self._batch_ids, matches.attempt[cut])
        columns["lane"] = arrow_columns.lookup(self._lanes, matches.attempt[cut])
        columns["reused_from"] = pa.nulls(hi - lo, pa.string())
        columns["cost_usd"] = arrow_columns.from_numpy(matches.usd[cut], ~np.isnan(matches.usd[cut]))
        reused = self._rows.reused[lo:hi]
        if self._earlier is not None and reused.any():
            take_over(columns, status, reused, self._earlier.take(lo, hi))
        columns["status"] = arrow_columns.lookup([str(each) for each in STATUSES], status)
        return {column.name: columns[column.name] for column in OUTPUT_COLUMNS if column.name in columns}

    def _from_lines(self, parsed: ParsedLines | None, line: Numbers) -> dict[str, pa.Array]:
        """The columns that lines hold, as the rows' lines have them."""
        if parsed is None:
            wire = self._answer_column.parsed_type
            types = {
                column.name: wire if column.type is None else column.type for column in self._line_columns
            }
            return {name: pa.nulls(len(line), kind) for name, kind in types.items()}
        places = arrow_columns.indices(line)
        return {
            column.name: parsed.table.column(column.name).chunk(0).take(places)
            for column in self._line_columns
        }


def _replace_texts(own: pa.Array, texts: list[str | None], batch_error: Numbers, skip: pa.Array) -> pa.Array:
    """The texts of the lines themselves, unless a batch error or the skipping of the row has another."""
    if (batch_error >= 0).any():
        own = pc.if_else(arrow_columns.mask(batch_error >= 0), arrow_columns.lookup(texts, batch_error), own)
    return pc.coalesce(skip, own) if skip.null_count < len(skip) else own


def _check(checker: Checker, answers: pa.Array, status: Numbers) -> tuple[pa.Array, Problems, Problems]:
    """The parsed answers of the rows that succeeded, null where one does not satisfy the schema, and why not; and what is
    to be said of some that do."""
    problems: Problems = {}
    remarks: Problems = {}
    parts = [
        _checked_part(checker, answers, status, lo, problems, remarks)
        for lo in range(0, max(1, len(answers)), _CHECKED_AT_ONCE)
    ]
    return pa.concat_arrays(parts), problems, remarks


def _checked_part(
    checker: Checker, answers: pa.Array, status: Numbers, lo: int, problems: Problems, remarks: Problems
) -> pa.Array:
    """The parsed answers from row `lo` on, and what is to be said of them put into `problems` and `remarks`."""
    texts = answers.slice(lo, _CHECKED_AT_ONCE).to_pylist()
    values: list[Any] = [None] * len(texts)
    for at in np.flatnonzero(status[lo : lo + _CHECKED_AT_ONCE] == SUCCEEDED).tolist():
        values[at], problem = checker.check(texts[at])
        if problem is not None:
            problems[lo + at] = problem
        elif (remark := checker.remark(texts[at])) is not None:
            remarks[lo + at] = remark
    return arrow_columns.build(values, checker.type)


def _remarked(messages: pa.Array, remarks: Problems) -> pa.Array:
    """The messages with remarks on good answers, which have none of their own."""
    if not remarks:
        return messages
    return pc.coalesce(messages, arrow_columns.strings([remarks.get(row) for row in range(len(messages))]))


def _mark_invalid(columns: dict[str, pa.Array], status: Numbers, problems: Problems) -> None:
    messages = [problems.get(row) for row in range(len(status))]
    codes = [message and "invalid_answer" for message in messages]
    status[list(problems)] = INVALID
    columns["error_code"] = pc.coalesce(columns["error_code"], arrow_columns.few_strings(codes))
    columns["error_message"] = pc.coalesce(columns["error_message"], arrow_columns.strings(messages))


def _has_value(lines: pa.Table, name: str) -> Numbers:
    """Mask of the rows that have a value in a column; not every job's lines have it."""
    if name not in lines.column_names:
        return np.zeros(lines.num_rows, bool)
    has_value: Numbers = arrow_columns.to_numpy(arrow_columns.combined(lines.column(name)).is_valid())
    return has_value


def _texts(column: pa.ChunkedArray) -> pa.Array:
    return arrow_columns.combined(column.cast(pa.string()))
