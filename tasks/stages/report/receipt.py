"""The receipt: the summary of a finished run, a published JSON document."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_serializer, model_validator

from configs.trials import is_trial
from tasks.stages.report.budget_state import BudgetState
from tasks.stages.report.document import Document, Timestamp
from tasks.stages.report.estimate import Estimate
from tasks.stages.row_status import RowStatus

_ERRORS_SHOWN = 10


class RowCounts(Document):
    """The number of rows in all and by final status; a status without rows is left out."""

    total: int
    by_status: dict[RowStatus, int]

    @property
    def answered(self) -> int:
        """Number of rows that count as answered."""
        return sum(count for status, count in self.by_status.items() if status.is_success)

    @property
    def unanswered(self) -> int:
        """Number of rows that do not count as answered."""
        return sum(count for status, count in self.by_status.items() if not status.is_success)

    @model_validator(mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        """Accept the JSON form, where the statuses stand beside the total."""
        if not isinstance(value, Mapping) or "by_status" in value:
            return value
        by_status = {status: count for status, count in value.items() if status != "total"}
        return {"total": value.get("total"), "by_status": by_status}

    @model_serializer
    def _to_json(self) -> dict[str, int]:
        return {"total": self.total, **{str(status): count for status, count in self.by_status.items()}}

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> dict[str, Any]:
        statuses = {
            str(status): {"type": "integer", "minimum": 1, "description": status.meaning}
            for status in RowStatus
        }
        total = {"type": "integer", "minimum": 0, "description": "All rows."}
        return {
            "type": "object",
            "title": cls.__name__,
            "description": cls.__doc__,
            "properties": {"total": total, **statuses},
            "required": ["total"],
            "additionalProperties": False,
        }


class BatchCounts(Document):
    """The batches that were created at the provider."""

    posted: int = Field(description="Batches created.")
    follow_ups: int = Field(description="Those of them that asked again, for rows without an answer.")


class TokenSums(Document):
    """Tokens as the provider counted them, over all attempts."""

    input: int = Field(description="Tokens of the prompts.")
    output: int = Field(description="Tokens of the answers, reasoning included.")
    cached: int = Field(description="The part of `input` that was read from the provider's cache.")
    reasoning: int = Field(description="The part of `output` that was spent on reasoning.")


class CacheUse(Document):
    """What the prompt cache did, in tokens and dollars."""

    written: int = Field(description="Tokens that were written to it.")
    read: int = Field(description="Tokens that were read from it.")
    write_usd: float | None = Field(
        description="What the writing cost more than plain input; null when no price says."
    )
    saved_usd: float | None = Field(description="What the reading cost less; null when no price says.")

    @property
    def loss_usd(self) -> float:
        """How much more the writing cost than the reading saved; 0 where it did not, or nobody knows."""
        return max(0.0, (self.write_usd or 0.0) - (self.saved_usd or 0.0))


class ReusedAnswers(Document):
    """Rows that took over the answer of an earlier run, and were not posted."""

    rows: int = Field(description="Rows that took over the answer of an earlier run, whatever their status.")
    saved_usd: float | None = Field(
        description="What their answers cost when they were bought; null when that of any is unknown."
    )


class RealTimeUse(Document):
    """What real-time calls did after the job's deadline; tokens and cost are part of the receipt's."""

    lane: str = Field(description="Which calls: `standard` or `flex`.")
    batches: int = Field(description="Batches that they answered.")
    rows: int = Field(description="Rows that were posted to them, in all attempts.")
    cost_usd: float | None = Field(
        description="What they cost; null when a price is unknown, or a reply was lost."
    )


class ErrorSummary(Document):
    """One error code, and how many rows ended with it."""

    code: str = Field(description="The error code, as in the output.")
    rows: int = Field(description="Rows that ended with it.")
    example: str = Field(description="The message of the first of them.")


class OddLines(Document):
    """Lines of the result files that are not the one line of a row."""

    unknown_ids: int = Field(description="Lines for rows that were not asked.")
    duplicate_lines: int = Field(description="Lines beyond the first for a row.")
    unparsable_lines: int = Field(description="Lines that could not be read.")


class Receipt(Document):
    """The summary of a finished run: rows by status, tokens, cost, batches, times."""

    version: Literal[1] = Field(
        1, description="Version of this format; a receipt without one is of the first."
    )
    job: str = Field(description="Name of the job.")
    key: str = Field(
        description="Key of the run: its logical date, or the name it was given; that of a trial ends in `.trial`."
    )
    generation: int = Field(description="1, and one more for every redo.")
    run: str = Field(description="Id of the run.")
    date: datetime.date = Field(description="Logical date.")
    source: str = Field(description="Path of the dataset.")
    source_fingerprint: str | None = Field(
        None, description="Changes when the dataset's files change; null when they were never read."
    )
    output: str = Field(description="Path of the enriched dataset.")
    report: str | None = Field(None, description="Path of the run report; null when it could not be written.")
    result_lines: tuple[str, ...] = Field(
        (), description="Paths of the files of result lines, with `output.result_lines`."
    )
    run_folder: str = Field(description="Where the run's own files are.")
    provider: str = Field(description="Batch service that was asked.")
    answered_by: str = Field(description="Who answered there: the service, its URL, or `echo`.")
    model: str = Field(
        description="The model that was asked for; of a file of requests all of them, with commas."
    )
    rows: RowCounts = Field(description="Rows, in all and by status.")
    bad_lines: int = Field(0, description="Lines of the source that were left out as the job says.")
    ranges_left_out: int = Field(
        0,
        description="Ranges of the source that have no rows here: it changed before they were read (--snapshot).",
    )
    chunks: int = Field(description="Chunks that the rows were cut into.")
    batches: BatchCounts = Field(description="Batches at the provider.")
    tokens: TokenSums = Field(description="Tokens, over all attempts.")
    cost_usd: float | None = Field(
        description="What all attempts cost; null when a price is unknown, or a reply was lost."
    )
    cache: CacheUse | None = Field(None, description="What the prompt cache did; null where none was used.")
    reused: ReusedAnswers | None = Field(
        None, description="What earlier runs had answered; null for a job without `reuse`."
    )
    real_time: tuple[RealTimeUse, ...] = Field(
        (), description="What was asked by real-time calls after the job's `deadline`."
    )
    estimate: Estimate | None = Field(
        None, description="What tokens and cost were thought to be when the requests were made."
    )
    estimate_deviation: float | None = Field(
        None,
        description="`tokens.input` against `estimate.prompt_tokens`: 0.02 is 2 % more; null where it cannot be told.",
    )
    budgets: tuple[BudgetState, ...] = Field(
        (), description="The budgets that hold for the run's batches, as they stood when it was published."
    )
    retryable: int = Field(
        0, description="Rows that may get a better answer, or one at all, when asked again, by `retry.on`."
    )
    errors: tuple[ErrorSummary, ...] = Field(description="The ten most frequent error codes.")
    error_budget: float | None = Field(
        None, description="The job's `run.error_budget`: the share of rows that may lack an answer."
    )
    odd_lines: OddLines = Field(
        description="Lines of the result files that belong to no row, or cannot be read."
    )
    started_at: Timestamp = Field(description="When the run began.")
    finished_at: Timestamp = Field(description="When all rows had their status.")
    seconds: float = Field(description="Seconds from start to finish.")

    @property
    def is_trial(self) -> bool:
        """Whether it is of a trial: of some rows alone, published beside the job's output."""
        return is_trial(self.key)

    @property
    def is_over_budget(self) -> bool:
        """Whether more rows lack an answer than the job's error budget allows."""
        total = self.rows.total
        return (
            self.error_budget is not None and total > 0 and self.rows.unanswered > self.error_budget * total
        )

    def with_report(self, path: str | None) -> Self:
        """The same receipt with the path of the run report."""
        return self.model_copy(update={"report": path})

    def to_bytes(self) -> bytes:
        """The content of the receipt file."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=False).encode()


def rows_by_status(stats: Iterable[Mapping[str, Any]]) -> dict[RowStatus, int]:
    """The sum of the chunks' counts, in the order of the statuses, zeros left out."""
    total: Counter[str] = Counter()
    for chunk in stats:
        total.update(chunk["by_status"])
    return {status: total[status] for status in RowStatus if total[status]}


def top_errors(stats: Iterable[Mapping[str, Any]]) -> tuple[ErrorSummary, ...]:
    """The most frequent error codes of the chunks, with one message each."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for chunk in stats:
        for code, (count, example) in chunk["errors"].items():
            counts[code] += count
            examples.setdefault(code, example)
    return tuple(
        ErrorSummary(code=code, rows=count, example=examples[code])
        for code, count in counts.most_common(_ERRORS_SHOWN)
    )
