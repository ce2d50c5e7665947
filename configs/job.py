"""The model of the job file: its keys, types and defaults. `configs.load` loads it."""

from __future__ import annotations

from datetime import date
from math import isfinite
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from configs.budgets import Budget
from configs.frozen import Count, Duration, Frozen, Interval
from configs.prompt import Prompt
from configs.providers.local import LocalProvider
from configs.providers.registry import Provider
from configs.reuse import ReuseSection

ColumnType = Literal[
    "string", "int32", "int64", "float32", "float64", "bool", "date", "timestamp", "timestamp_utc"
]
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
RetryReason = Literal[
    "transient", "capacity", "expired", "cancelled", "missing", "invalid", "truncated", "refused"
]


def _plain(literal: Any) -> Any:
    """A value of a YAML file as one that JSON can hold: dates and infinities are text."""
    if isinstance(literal, list | tuple):
        return [_plain(item) for item in literal]
    if isinstance(literal, date):
        return literal.isoformat()
    if isinstance(literal, float) and not isfinite(literal):
        return str(literal)
    return literal


class CsvOptions(Frozen):
    """The format of CSV sources; ignored for other formats."""

    # Not a comma by default: what a .tsv is split at must not depend on whether a value was written or filled in.
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="One character between fields; null is a tab in .tsv files and a comma in others.",
    )
    quote: str = Field('"', min_length=1, max_length=1, description="Character around quoted fields.")
    escape: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Character that takes the next one literally, e.g. a backslash; a doubled quote always works.",
    )
    encoding: str = Field("utf-8", description="Python codec name; a UTF-8 BOM is always dropped.")
    skip_lines: int = Field(
        0, strict=True, ge=0, le=10_000, description="Lines before the header, which are not read."
    )


class Source(Frozen):
    """The dataset: a file, a glob or a folder (hive partitions become columns), local or any fsspec URL."""

    path: str = Field(
        min_length=1,
        description="Relative to the job file. {date}, {year}, {month}, {day}, {key}, {job} work.",
    )
    format: Literal["auto", "parquet", "csv", "jsonl", "arrow"] = Field(
        "auto",
        description="auto goes by the file ending (.gz, .zst, .bz2 and .xz allowed for csv and jsonl).",
    )
    key: str | tuple[str, ...] | None = Field(
        None, description="Column(s) that identify a row; they become the custom_id."
    )
    columns: tuple[str, ...] | None = Field(
        None, description="Source columns to copy to the output; all by default."
    )
    where: tuple[tuple[str, Operator, Any], ...] = Field(
        (), description="Conditions for the rows to use: [[column, operator, value], ...]; all must hold."
    )
    limit: Count | None = Field(None, description="Maximum number of rows.")
    types: dict[str, ColumnType] = Field({}, description="CSV columns are text unless named here.")
    csv: CsvOptions = CsvOptions()
    bad_lines: Literal["error", "skip", "fill"] = Field(
        "error",
        description="What to do with a line that has the wrong number of fields or cannot be decoded; fill gives a"
        " CSV line that is too short empty fields.",
    )
    duplicate_keys: Literal["error", "number"] = Field(
        "error", description="number appends the row number to every custom_id."
    )

    @field_validator("where", mode="before")
    @classmethod
    def _none_is_everything(cls, value: Any) -> Any:
        return () if value is None else value

    @field_validator("where")
    @classmethod
    def _as_recorded(cls, value: tuple[tuple[str, Operator, Any], ...]) -> Any:
        # As JSON writes them: the job that the ledger gives back has to compare with the very same values.
        return tuple((column, operator, _plain(literal)) for column, operator, literal in value)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The key columns as a tuple; empty when rows have no key."""
        if self.key is None:
            return ()
        return (self.key,) if isinstance(self.key, str) else self.key


class Limits(Frozen):
    """Limits of a batch below the provider's own, for which null stands; and of a chunk's rows."""

    max_requests: Count | None = Field(None, description="Lines in one batch file.")
    max_bytes: Count | None = Field(None, description="Bytes in one batch file, final newline counted.")
    max_tokens: Count | None = Field(None, description="Estimated prompt tokens in one batch file.")
    max_rows: Count = Field(
        500_000,
        description="Rows in one chunk, also those that are not posted: what is held in memory at once.",
    )
    max_enqueued_tokens: Count | None = Field(
        None, description="Estimated prompt tokens in all open batches of this provider account and model."
    )


class Poll(Frozen):
    """How often open batches are polled: the wait starts at first_seconds and grows by half, up to max_seconds.

    A batch whose creation was not confirmed gets first_seconds to appear in the provider's list before it is posted again.
    The embedded service is polled every 1 to 5 seconds if that is more often.
    """

    first_seconds: Interval = 20
    max_seconds: Interval = 900

    @model_validator(mode="after")
    def _grows(self) -> Poll:
        if self.max_seconds < self.first_seconds:
            raise ValueError("max_seconds must not be below first_seconds")
        return self


class Retry(Frozen):
    """When rows are posted again: those without an answer, and answered ones by choice."""

    max_attempts: int = Field(
        3,
        strict=True,
        ge=1,
        le=20,
        description="How often a row is posted at most, including the first time.",
    )
    on: tuple[RetryReason, ...] = Field(
        ("transient", "capacity", "expired", "cancelled", "missing"),
        description="Error classes for which a row is posted again; faults of the request itself never are. invalid,"
        " truncated and refused are statuses of answered rows, which are paid for again.",
    )
    tell_errors: bool = Field(
        False,
        description="Show the model its invalid answer and what is wrong with it when the row is asked again;"
        " needs invalid in on, and prompt.schema.",
    )

    @model_validator(mode="after")
    def _tells_of_what_it_asks_again(self) -> Retry:
        if self.tell_errors and "invalid" not in self.on:
            raise ValueError("retry.tell_errors: only invalid answers are told of; add invalid to retry.on")
        return self


class RunOptions(Frozen):
    """Time limits, alarms and clean-up of a run. Durations are written `90m`, `36h`, `30d`; null means no limit."""

    give_up_after: Duration | None = Field(
        None, description="After this time the run cancels its open batches and publishes the answers it has."
    )
    warn_after: Duration | None = Field(
        "1h", description="Warn when the provider has given no usable reply for this long."
    )
    start_within: Duration | None = Field(
        "12h",
        description="A scheduled run that starts later than this after its scheduled time is skipped.",
    )
    error_budget: float | None = Field(
        0.05,
        strict=True,
        ge=0,
        le=1,
        description="Share of unanswered rows above which a finished run raises an alarm; null for no alarm.",
    )
    publish_cancelled: bool = Field(False, description="A cancelled run publishes the answers it has.")
    keep: Duration | None = Field(
        "30d", description="How long `nightmail clean` keeps a finished run's folder."
    )


class Output(Frozen):
    """Where the enriched rows go: a folder of parts, or one file when the path ends in .parquet."""

    path: str = Field(
        min_length=1,
        description="Relative to the job file. {date}, {year}, {month}, {day}, {key}, {job} work.",
    )
    prefix: str = Field(
        "llm_", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="Prefix of the added columns' names."
    )


class Job(Frozen):
    """The content of a job file."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Names the run folder and the Prefect runs."
    )
    timezone: str = Field("UTC", description="IANA name; determines the default date, yesterday.")
    source: Source
    prompt: Prompt
    provider: Provider = LocalProvider()
    limits: Limits = Limits()
    poll: Poll = Poll()
    retry: Retry = Retry()
    reuse: ReuseSection = Field(
        None, description="Take the answers of earlier runs to the same requests; true, or a section."
    )
    budget: Budget = Budget()
    run: RunOptions = RunOptions()
    output: Output

    @field_validator("provider", mode="before")
    @classmethod
    def _local_unless_named(cls, value: Any) -> Any:
        return {"name": "local", **value} if isinstance(value, dict) else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value != "UTC" and value not in available_timezones():
            raise ValueError(f"unknown time zone {value!r}; use an IANA name such as Asia/Tokyo")
        return value

    @model_validator(mode="after")
    def _provider_supports_prompt(self) -> Job:
        reason = self.provider.unsupported(self.prompt)
        if reason:
            raise ValueError(reason)
        return self

    @model_validator(mode="after")
    def _answers_can_be_reused(self) -> Job:
        if self.reuse is not None and self.prompt.endpoint.startswith(("/v1/images", "/v1/videos")):
            raise ValueError(
                f"reuse: answers of {self.prompt.endpoint} are files, which stay with their run; remove it"
            )
        return self

    @model_validator(mode="after")
    def _errors_can_be_told(self) -> Job:
        if not self.retry.tell_errors:
            return self
        if self.prompt.answer_schema is None:
            raise ValueError(
                "retry.tell_errors: an answer is invalid by prompt.schema, and there is none; add one"
            )
        if self.prompt.choices > 1:
            raise ValueError(
                "retry.tell_errors: a row has several answers (prompt.params.n); remove one of the two"
            )
        return self

    @property
    def pace(self) -> Poll:
        """The polling intervals after the provider's own limits are applied."""
        first, longest = self.provider.poll_seconds(self.poll.first_seconds, self.poll.max_seconds)
        return Poll(first_seconds=first, max_seconds=longest)

    @property
    def zone(self) -> ZoneInfo:
        """The job's time zone."""
        return ZoneInfo(self.timezone)
