"""The model of the job file: its keys, types and defaults. `configs.load` loads it."""

from __future__ import annotations

from datetime import date
from math import isfinite
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from configs.budgets import Budget
from configs.deadline import Deadline
from configs.execution import Execution
from configs.foreign_text import printable
from configs.frozen import Count, Duration, Frozen, Interval, known_zone
from configs.prompt import NO_PROMPT, Prompt
from configs.providers.local import LocalProvider
from configs.providers.registry import Provider
from configs.reuse import ReuseSection
from configs.schedule import Schedule

ColumnType = Literal[
    "string", "int32", "int64", "float32", "float64", "bool", "date", "timestamp", "timestamp_utc"
]
Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
RetryReason = Literal[
    "transient",
    "capacity",
    "expired",
    "cancelled",
    "missing",
    "reply_lost",
    "invalid",
    "truncated",
    "refused",
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


IncludedColumn = Literal["tool_calls", "reasoning", "logprobs", "citations", "raw"]
_INCLUDED_AT: Final = {
    "/v1/chat/completions": ("tool_calls", "reasoning", "logprobs", "citations"),
    "/v1/responses": ("tool_calls", "reasoning", "logprobs", "citations"),
    "/v1/completions": ("reasoning", "logprobs"),
}
"""The columns by choice that an endpoint can have, beside the body."""


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


class SourceFiles(Frozen):
    """Files that a column holds or names, for the parts `{type: image, column: ...}` and `{type: file, column: ...}` of a prompt."""

    roots: tuple[str, ...] = Field(
        (),
        description="Folders from which files that rows name may be read, and no others: relative to the job file, or any"
        " fsspec URL. Names are relative to the source's folder or to one of these, or absolute and below one.",
    )
    max_bytes: Count = Field(20_000_000, description="Size of one file; rows with a larger one are skipped.")

    @field_validator("roots")
    @classmethod
    def _can_be_confined(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            if not root.strip():
                raise ValueError("an empty name is no folder; write . for the job file's")
            # A server reads %2e%2e and the like in its own way: what lies below such a URL is not ours to tell.
            if "::" in root or root.lower().startswith(("http:", "https:")):
                raise ValueError("must be a local folder or one of an object store; send URLs as image_url")
        return roots


class Source(Frozen):
    """The dataset: a file, a glob or a folder (hive partitions become columns), local or any fsspec URL."""

    path: str = Field(
        min_length=1,
        description="Relative to the job file. {date}, {year}, {month}, {day}, {key}, {job} work.",
    )
    format: Literal["auto", "parquet", "csv", "jsonl", "arrow", "requests"] = Field(
        "auto",
        description="auto goes by the file ending (.gz, .zst, .bz2 and .xz allowed for csv and jsonl); requests: one JSONL"
        " file whose lines are ready requests, posted as they are.",
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
    files: SourceFiles = SourceFiles()
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

    @model_validator(mode="after")
    def _requests_are_no_table(self) -> Source:
        if self.format == "requests":
            for name in ("key", "columns", "types", "csv", "duplicate_keys"):
                if getattr(self, name) != type(self).model_fields[name].get_default():
                    raise ValueError(
                        f"{name}: a file of requests has no columns to choose, and brings its own custom_ids; remove it"
                    )
        return self

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
        description="Error classes for which a row is posted again; faults of the request itself never are. reply_lost"
        " are real-time calls that may have been answered and paid for; invalid, truncated and refused are statuses of"
        " answered rows, which are paid for again.",
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
    result_lines: bool = Field(
        False,
        description="For source.format requests: also publish the result lines as the provider wrote them, in output.jsonl"
        " and error.jsonl files.",
    )
    prefix: str = Field(
        "llm_", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="Prefix of the added columns' names."
    )

    include: tuple[IncludedColumn, ...] = Field(
        (),
        description="Columns to add, each null where the provider gives none: the tools called, the reasoning text, the"
        " tokens' log probabilities, the sources, the response body as it came.",
    )

    @field_validator("include")
    @classmethod
    def _each_once(cls, value: tuple[IncludedColumn, ...]) -> tuple[IncludedColumn, ...]:
        return tuple(dict.fromkeys(value))


def _asks_with_requests(tree: Any) -> bool:
    source = tree.get("source") if isinstance(tree, dict) else None
    return isinstance(source, dict) and source.get("format") == "requests"


class Job(Frozen):
    """The content of a job file."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Names the run folder and the Prefect runs."
    )
    description: str = Field(
        "",
        max_length=500,
        description="What it is for, in a line of at most 500 characters. Every batch carries it where its provider keeps"
        " such a text, as far as it fits: in metadata, `ds_description` or the display name.",
    )
    timezone: str = Field("UTC", description="IANA name; determines the default date, yesterday.")
    schedule: Schedule | None = Field(
        None, description="When `nightmail deploy` lets a Prefect server start runs; null is by hand alone."
    )
    source: Source
    prompt: Prompt = NO_PROMPT
    provider: Provider = LocalProvider()
    limits: Limits = Limits()
    poll: Poll = Poll()
    retry: Retry = Retry()
    reuse: ReuseSection = Field(
        None, description="Take the answers of earlier runs to the same requests; true, or a section."
    )
    budget: Budget = Budget()
    deadline: Deadline | None = Field(
        None, description="When the rows that are left are asked by real-time calls; null is never."
    )
    run: RunOptions = RunOptions()
    execution: Execution = Execution()
    output: Output

    @model_validator(mode="before")
    @classmethod
    def _requests_bring_their_prompts(cls, tree: Any) -> Any:
        if not _asks_with_requests(tree):
            return tree
        given = tree.get("prompt")
        bare = NO_PROMPT.model_dump(mode="json", by_alias=True)
        return {**tree, "prompt": {**bare, **given} if isinstance(given, dict) else given or bare}

    @field_validator("provider", mode="before")
    @classmethod
    def _local_unless_named(cls, value: Any) -> Any:
        return {"name": "local", **value} if isinstance(value, dict) else value

    @field_validator("description")
    @classmethod
    def _on_one_line(cls, value: str) -> str:
        line = " ".join(value.split())
        if printable(line) != line:
            raise ValueError("holds characters that cannot be shown; write it as plain text")
        return line

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)

    @model_validator(mode="after")
    def _asks_in_one_way(self) -> Job:
        if self.source.format == "requests":
            if self.prompt != NO_PROMPT.model_copy(update={"model": self.prompt.model}):
                raise ValueError(
                    "prompt: the lines of source.format requests are whole requests; remove all of it but the model"
                )
        elif self.prompt == NO_PROMPT:
            raise ValueError("prompt: is required; see `nightmail schema` for its form")
        elif self.output.result_lines:
            raise ValueError("output.result_lines: needs source.format requests; remove it")
        if self.source.format == "requests" and self.deadline is not None:
            raise ValueError(
                "deadline: the lines of source.format requests are posted as they are, to batches alone; remove it"
            )
        if self.output.result_lines and self.reuse is not None:
            raise ValueError(
                "output.result_lines: with reuse, lines of earlier answers lie with their runs; remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _provider_supports_prompt(self) -> Job:
        if self.source.format == "requests":  # whose endpoints are known when they are read
            return self
        reason = self.provider.unsupported(self.prompt)
        if reason:
            raise ValueError(reason)
        return self

    @model_validator(mode="after")
    def _columns_can_be_included(self) -> Job:
        chosen = [name for name in self.output.include if name != "raw"]
        missing = [name for name in chosen if name not in _INCLUDED_AT.get(self.prompt.endpoint, ())]
        if missing:
            raise ValueError(f"output.include: {self.prompt.endpoint} has no {missing[0]}; remove it")
        if chosen and self.prompt.choices > 1:
            raise ValueError(
                f"output.include: {chosen[0]} of several answers a row (prompt.params.n) is in raw alone; include that"
            )
        return self

    @model_validator(mode="after")
    def _answers_can_be_reused(self) -> Job:
        if self.reuse is not None and self.prompt.endpoint.startswith(("/v1/images", "/v1/videos")):
            raise ValueError(
                f"reuse: answers of {self.prompt.endpoint} are files, which stay with their run; remove it"
            )
        return self

    @model_validator(mode="after")
    def _deadline_can_be_kept(self) -> Job:
        reason = self.deadline and self.provider.no_lane(self.deadline.lane, self.prompt)
        if reason:
            raise ValueError(reason)
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
