"""The estimate of a run's tokens and cost, as plan and receipt publish it."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import Field

from tasks.stages.report.document import Document


class TokenRange(Document):
    """Tokens: at least, about, at most. Null where it cannot be told."""

    low: int | None = Field(None, description="At least.")
    expected: int | None = Field(None, description="About.")
    high: int | None = Field(None, description="At most.")


class CostRange(Document):
    """US dollars: at least, about, at most. Null where it cannot be told."""

    low: float | None = Field(None, description="At least.")
    expected: float | None = Field(None, description="About.")
    high: float | None = Field(None, description="At most.")


_Range = TypeVar("_Range", TokenRange, CostRange)


def add_ranges(one: _Range, other: _Range) -> _Range:
    """The sum of both; null where either is."""

    def add(left: Any, right: Any) -> Any:
        return None if left is None or right is None else left + right

    others = other.as_json()
    return type(one)(**{name: add(value, others[name]) for name, value in one.as_json().items()})


class Revision(Document):
    """What a run comes to by those of its chunks that are finished."""

    finished_chunks: int = Field(description="Chunks that say so.")
    chunks: int = Field(description="All chunks.")
    prompt_tokens: int = Field(
        description="Tokens of all prompts: counted so far, and about as many for the rest."
    )
    output_tokens: int = Field(description="Tokens of all answers, likewise.")
    cost_usd: float | None = Field(description="Price of both; null when it is unknown.")


class Estimate(Document):
    """Estimated tokens and price, of the prompts by themselves and with the answers."""

    prompt_tokens: int = Field(description="Tokens of all prompts, about.")
    method: str = Field(description="How they were counted, and how far off that may be.")
    cost_usd: float | None = Field(description="Price of the prompts; null when it is unknown.")
    prompt: TokenRange = Field(TokenRange(), description="Tokens of the prompts.")
    output: TokenRange = Field(TokenRange(), description="Tokens of the answers.")
    output_method: str = Field("", description="How those of the answers were estimated.")
    total: TokenRange = Field(TokenRange(), description="Tokens of prompts and answers.")
    total_usd: CostRange = Field(CostRange(), description="Price of prompts and answers as batches.")
    realtime_usd: CostRange = Field(CostRange(), description="What the same would cost in real time.")
    most_usd: float | None = Field(
        None,
        description="What it may cost at most: answers as long as the job lets them be, as budgets reserve it; null when unknown.",
    )
    input_margin: float = Field(
        1.05, description="Prompts are reserved as so many times what was counted of them."
    )
    uncounted: tuple[str, ...] = Field((), description="Kinds of media whose tokens nobody can count.")
    price_source: str | None = Field(None, description="Where the batch price comes from.")
    price_date: str | None = Field(None, description="Since when it holds, where that is known.")
