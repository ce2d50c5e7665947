"""Which line speaks for which row, and the columns that say so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import IntegrityError
from tasks.stages import arrow_columns
from tasks.stages.answers.columns import AnswerColumn, Problems
from tasks.stages.answers.schema import Checker
from tasks.stages.merge.lines import ANSWERED_CODES, COUNTS, ERROR_CLASSES, STATUSES, Numbers, ParsedLines
from tasks.stages.wire.outcome import RowStatus, classify, failure_status

SUCCEEDED, INVALID, MISSING, SKIPPED = (
    STATUSES.index(status)
    for status in (RowStatus.SUCCEEDED, RowStatus.INVALID, RowStatus.MISSING, RowStatus.SKIPPED)
)
_LATER = 1 << 40
_ANSWERED = 1 << 60


@dataclass(frozen=True)
class Attempt:
    """One posting of (some of) the chunk's rows and what came back.

    `files` are seekable binary files, output and error file in any order, empty ones allowed. `posted` holds
    the custom_ids of its requests; None is every row that is not skipped. `error` is (code, message) of a
    batch that failed, expired or was cancelled as a whole: it speaks for posted rows that have no line.
    """

    files: Sequence[BinaryIO] = ()
    posted: Collection[str] | pa.Array | None = None
    batch_id: str | None = None
    error: tuple[str, str | None] | None = None


class ChunkRows:
    """The chunk's rows by custom_id, and which attempt posted which."""

    def __init__(self, lines: pa.Table, attempts: Sequence[Attempt]) -> None:
        self.ids = _one_array(lines.column("custom_id"))
        self.skip_code = _one_array(lines.column("skip_code"))
        self.skip_message = _one_array(lines.column("skip_message"))
        self.skipped: Numbers = arrow_columns.to_numpy(self.skip_code.is_valid())
        self._asked = np.flatnonzero(~self.skipped)
        self._asked_ids = self.ids.take(arrow_columns.indices(self._asked))
        if pc.count_distinct(self._asked_ids, mode="all").as_py() != len(self._asked):
            raise IntegrityError(
                "two rows of one chunk share a custom_id; prepare the run again with unique keys"
            )
        self.posted = np.zeros((len(attempts), len(self.ids)), bool)
        for at, attempt in enumerate(attempts):
            self.posted[at] = self._posted(at, attempt)
        self.attempts: Numbers = self.posted.sum(axis=0, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: pa.Array, lo: int = 0, hi: int | None = None) -> Numbers:
        """Row number of each id; -1 where no asked row of lo..hi has it."""
        first, last = np.searchsorted(self._asked, [lo, len(self) if hi is None else hi]).tolist()
        if first == last:
            return np.full(len(ids), -1, np.int64)
        found = pc.index_in(ids, value_set=self._asked_ids[first:last])
        at = arrow_columns.to_numpy(found, -1).astype(np.int64)
        return np.where(at < 0, -1, self._asked[first + at])

    def _posted(self, at: int, attempt: Attempt) -> Numbers:
        if attempt.posted is None:
            return ~self.skipped
        ids = attempt.posted
        rows = self.rows_of(ids if isinstance(ids, pa.Array) else arrow_columns.strings(list(ids)))
        if (rows < 0).any():
            raise IntegrityError(
                f"attempt {at + 1} posted a custom_id that is not in its chunk; the run folder is damaged"
            )
        mask = np.zeros(len(self.ids), bool)
        mask[rows] = True
        return mask


@dataclass(frozen=True)
class Verdict:
    """For rows lo..hi: `line` that speaks (-1: none), `batch` error that speaks (-1: none), attempt (-1: none)."""

    lo: int
    line: Numbers
    batch: Numbers
    attempt: Numbers
    status: Numbers
    helps: Numbers
    duplicates: int
    unknown: int


def decide(
    rows: ChunkRows,
    attempts: Sequence[Attempt],
    parsed: ParsedLines | None,
    lo: int,
    hi: int,
    retry_on: Collection[str],
) -> Verdict:
    """One verdict per row of lo..hi.

    An answer beats everything, the earliest first; without one the latest attempt speaks, its first line first.
    A batch error speaks for rows its attempt posted and left without a line. `retry_on` are the error classes,
    and `missing`, that another attempt is wanted for.
    """
    line = np.full(hi - lo, -1, np.int64)
    duplicates = unknown = 0
    if parsed is not None:
        duplicates, unknown = _choose(rows, parsed, lo, hi, line)
    chosen = line >= 0
    status = np.where(chosen, _at(parsed.status if parsed else None, line), MISSING).astype(np.int8)
    attempt = np.where(chosen, _at(parsed.attempt if parsed else None, line), -1)
    class_helps = np.array(
        [each.retryable and each in retry_on for each in ERROR_CLASSES] + [False]
    )  # code -1
    helps = np.where(
        chosen, class_helps[_at(parsed.error_class if parsed else None, line)], "missing" in retry_on
    )
    batch = np.full(hi - lo, -1, np.int64)
    _let_batches_speak(rows.posted[:, lo:hi], attempts, status, attempt, helps, batch, retry_on)
    silent = attempt < 0
    for at in range(len(attempts)):
        attempt[silent & rows.posted[at, lo:hi]] = at
    skipped = rows.skipped[lo:hi]
    status[skipped] = SKIPPED
    helps[skipped | ANSWERED_CODES[status]] = False
    return Verdict(lo, line, batch, attempt, status, helps, duplicates, unknown)


def _choose(rows: ChunkRows, parsed: ParsedLines, lo: int, hi: int, line: Numbers) -> tuple[int, int]:
    row = rows.rows_of(parsed.table.column("custom_id").chunk(0), lo, hi)
    at = np.arange(len(row))
    mine = row >= 0
    mine[mine] = rows.posted[parsed.attempt[mine], row[mine]]
    row, at, attempt = row[mine], at[mine], parsed.attempt[mine]
    # files come in the order of attempts, so the line number breaks every tie
    rank = np.where(parsed.answered[mine], _ANSWERED - at, attempt * _LATER - at)
    each_once = np.bincount((row - lo) * len(rows.posted) + attempt)
    duplicates = len(row) - int(np.count_nonzero(each_once))
    if duplicates or len(rows.posted) > 1:
        order = np.argsort(rank, kind="stable")
        row, at = row[order], at[order]
    line[row - lo] = at  # the last assignment, the best rank, stays
    return duplicates, int((~mine).sum())


def _at(values: Numbers | None, at: Numbers) -> Numbers:
    """values[at]; anything for a negative index, and for no values at all."""
    return values[at] if values is not None and len(values) else np.zeros(len(at), np.int64)


def _let_batches_speak(
    posted: Numbers,
    attempts: Sequence[Attempt],
    status: Numbers,
    attempt: Numbers,
    helps: Numbers,
    batch: Numbers,
    retry_on: Collection[str],
) -> None:
    for at, each in enumerate(attempts):
        if each.error is None:
            continue
        mask = posted[at] & (attempt < at) & ~ANSWERED_CODES[status]
        code = each.error[0]
        error_class = classify(code)
        status[mask] = STATUSES.index(failure_status(code, error_class))
        helps[mask] = error_class.retryable and error_class in retry_on
        attempt[mask] = at
        batch[mask] = at


class Columns:
    """The added columns of row ranges, in the order of `output_schema`."""

    def __init__(
        self,
        rows: ChunkRows,
        attempts: Sequence[Attempt],
        answer_column: AnswerColumn,
        checker: Checker | None,
    ) -> None:
        self._rows = rows
        self._answer_column = answer_column
        self._checker = checker
        self._batch_ids = [attempt.batch_id for attempt in attempts]
        self._codes = [attempt.error[0] if attempt.error else None for attempt in attempts]
        self._messages = [attempt.error[1] if attempt.error else None for attempt in attempts]

    def of(self, verdict: Verdict, parsed: ParsedLines | None, lo: int, hi: int) -> dict[str, pa.Array]:
        """Columns without prefix for rows lo..hi of the chunk; may set statuses of `verdict` to invalid."""
        cut = slice(lo - verdict.lo, hi - verdict.lo)
        picked = self._picked(parsed, verdict.line[cut])
        status, batch = verdict.status[cut], verdict.batch[cut]
        codes = self._spoken(picked["error_code"], self._codes, batch, self._rows.skip_code[lo:hi])
        messages = self._spoken(
            picked["error_message"], self._messages, batch, self._rows.skip_message[lo:hi]
        )
        answer, problems = self._answer_column.convert(picked["answer"], self._rows.ids[lo:hi])
        out = {"answer": answer}
        if self._checker is not None:
            out["parsed"], problems = self._check(self._checker, answer, status)
        if problems:
            texts = [problems.get(at) for at in range(hi - lo)]
            status[list(problems)] = INVALID
            codes = pc.coalesce(codes, arrow_columns.few_strings([p and "invalid_answer" for p in texts]))
            messages = pc.coalesce(messages, arrow_columns.strings(texts))
        out["status"] = arrow_columns.lookup([str(each) for each in STATUSES], status)
        out |= {"error_code": codes, "error_message": messages}
        out |= {name: picked[name] for name in ("finish_reason", "model", *COUNTS)}
        out["attempts"] = arrow_columns.from_numpy(self._rows.attempts[lo:hi])
        out["custom_id"] = self._rows.ids[lo:hi]
        out["batch_id"] = arrow_columns.lookup(self._batch_ids, verdict.attempt[cut])
        return out

    def _picked(self, parsed: ParsedLines | None, line: Numbers) -> dict[str, pa.Array]:
        names = ("answer", "error_code", "error_message", "finish_reason", "model", *COUNTS)
        if parsed is None:
            kinds = {"answer": self._answer_column.parsed_type} | dict.fromkeys(COUNTS, pa.int64())
            return {name: pa.nulls(len(line), kinds.get(name, pa.string())) for name in names}
        at = arrow_columns.indices(line)
        return {name: parsed.table.column(name).chunk(0).take(at) for name in names}

    @staticmethod
    def _spoken(own: pa.Array, names: list[str | None], batch: Numbers, skip: pa.Array) -> pa.Array:
        """The line's own text, unless the batch as a whole or the skipping of the row speaks."""
        spoken = own
        if (batch >= 0).any():
            spoken = pc.if_else(arrow_columns.mask(batch >= 0), arrow_columns.lookup(names, batch), spoken)
        return pc.coalesce(skip, spoken) if skip.null_count < len(skip) else spoken

    @staticmethod
    def _check(checker: Checker, answers: pa.Array, status: Numbers) -> tuple[pa.Array, Problems]:
        values: list[Any] = [None] * len(answers)
        problems: Problems = {}
        found = answers.to_pylist()
        for at in np.flatnonzero(status == SUCCEEDED).tolist():
            values[at], problem = checker.check(found[at])
            if problem is not None:
                problems[at] = problem
        return arrow_columns.build(values, checker.type), problems


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    joined = column.cast(pa.string()).combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)
