"""The columns that a run adds to its rows: the one table that merge, Parquet writer and documentation read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa


class OutputColumn(NamedTuple):
    """One added column; its name in the output has the job's `output.prefix` before it.

    `type` is None where the job decides it. `outcome_field` is the field of a result line's `Outcome` that the column is read
    from; None where the merge fills it in. `repeats` says that its texts are few and short: worth a dictionary. `by_choice` are
    those that only jobs have that name them in `output.include`; their parser gives them under their name.
    """

    name: str
    type: pa.DataType | None
    meaning: str
    outcome_field: str | None = None
    repeats: bool = False
    by_choice: bool = False


_TOKEN: Final = [("token", pa.string()), ("logprob", pa.float64())]


def _structs(fields: Sequence[tuple[str, pa.DataType]]) -> pa.ListType:
    return pa.list_(pa.struct(fields))


OUTPUT_COLUMNS: Final = (
    OutputColumn(
        "answer",
        None,
        "the answer's text; at other endpoints, and with several answers a row, what configs/REFERENCE.md says",
        outcome_field="answer",
    ),
    OutputColumn(
        "parsed",
        None,
        "only with `prompt.schema`: the answer's fields, typed; null where the answer does not satisfy the schema",
    ),
    OutputColumn(
        "tool_calls",
        _structs([("id", pa.string()), ("name", pa.string()), ("arguments", pa.string())]),
        "only with `output.include`: the tools that the model wants called; `arguments` is JSON text",
        outcome_field="tool_calls",
        by_choice=True,
    ),
    OutputColumn(
        "reasoning",
        pa.string(),
        "only with `output.include`: the model's reasoning, or the summary of it that the provider gives",
        outcome_field="reasoning",
        by_choice=True,
    ),
    OutputColumn(
        "logprobs",
        _structs([*_TOKEN, ("top", _structs(_TOKEN))]),
        "only with `output.include`: the answer's tokens, and in `top` the likeliest ones in each place",
        outcome_field="logprobs",
        by_choice=True,
    ),
    OutputColumn(
        "citations",
        _structs(
            [
                *((name, pa.string()) for name in ("url", "title", "text")),
                *((name, pa.int64()) for name in ("start", "end")),
            ]
        ),
        "only with `output.include`: the sources; `text` is what is quoted of one, `start` and `end` the characters of the answer that it is for",
        outcome_field="citations",
        by_choice=True,
    ),
    OutputColumn(
        "raw",
        pa.string(),
        "only with `output.include`: the body of the provider's response, or error, as it came",
        outcome_field="raw",
        by_choice=True,
    ),
    OutputColumn("status", pa.string(), "one of the words below, never null", repeats=True),
    OutputColumn(
        "error_code",
        pa.string(),
        "why there is no answer: the provider's own code, or `template_error`, `row_too_large`, ...",
        outcome_field="error_code",
        repeats=True,
    ),
    OutputColumn("error_message", pa.string(), "the same in words", outcome_field="error_message"),
    OutputColumn(
        "finish_reason",
        pa.string(),
        "why the model stopped, as the provider says it",
        outcome_field="finish_reason",
        repeats=True,
    ),
    OutputColumn(
        "model",
        pa.string(),
        "the model that answered, as the provider says it",
        outcome_field="model",
        repeats=True,
    ),
    OutputColumn("input_tokens", pa.int64(), "tokens of the prompt", outcome_field="input_tokens"),
    OutputColumn(
        "output_tokens", pa.int64(), "tokens of the answer, reasoning included", outcome_field="output_tokens"
    ),
    OutputColumn(
        "cached_tokens",
        pa.int64(),
        "the part of `input_tokens` that was read from the provider's cache",
        outcome_field="cached_tokens",
    ),
    OutputColumn(
        "reasoning_tokens",
        pa.int64(),
        "the part of `output_tokens` that was spent on reasoning",
        outcome_field="reasoning_tokens",
    ),
    OutputColumn(
        "attempts",
        pa.int32(),
        "how often the row was posted, but for what the account could not pay for; 0 for a skipped one",
    ),
    OutputColumn("custom_id", pa.string(), "the row's id at the provider"),
    OutputColumn("batch_id", pa.string(), "the provider's batch that the status comes from", repeats=True),
    OutputColumn(
        "lane",
        pa.string(),
        "`standard` or `flex` where a real-time call after the job's `deadline` decided the row; null for a batch",
        repeats=True,
    ),
    OutputColumn(
        "reused_from",
        pa.string(),
        "the run (`job/key`) that bought the answer, where an earlier one did; null where this run asked",
        repeats=True,
    ),
    OutputColumn(
        "cost_usd",
        pa.float64(),
        "what this run paid for the row, over all its attempts: 0 for a reused one, null where that is unknown",
    ),
)

LINE_COLUMNS: Final = tuple(
    (column, column.outcome_field) for column in OUTPUT_COLUMNS if column.outcome_field is not None
)
"""The columns that are read from a result line, each with the field of its `Outcome`, or the parser's name for one by choice."""
BY_CHOICE: Final = tuple(column.name for column in OUTPUT_COLUMNS if column.by_choice)
"""The columns that `output.include` may name."""


def typed_columns(
    answer: pa.DataType, parsed: pa.DataType | None, include: Collection[str] = ()
) -> Iterator[tuple[OutputColumn, pa.DataType]]:
    """The columns of a job with their types; without `parsed` where it has no schema, and of those by choice the ones that it
    includes."""
    of_the_job = {"answer": answer, "parsed": parsed}
    for column in OUTPUT_COLUMNS:
        kind = of_the_job[column.name] if column.type is None else column.type
        if kind is not None and (not column.by_choice or column.name in include):
            yield column, kind


def prefix_of(names: Sequence[str]) -> str:
    """The prefix of the added columns among the names of an output's: they are the last."""
    return names[-1].removesuffix(OUTPUT_COLUMNS[-1].name)
