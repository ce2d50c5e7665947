"""The estimate of a run's tokens and cost, as plan and receipt publish it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
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
        description="What it may cost at most, with answers as long as the job lets them be; null when unknown.",
    )
    answer_p95: int | None = Field(
        None,
        description="Tokens that 95 of 100 earlier answers to the same prompt keep to; null when too few are known.",
    )
    reserved_usd: float | None = Field(
        None,
        description="What its batches reserve of budgets together, and real-time calls after a deadline; null when unknown.",
    )
    reserved_method: str = Field("", description="What that is computed from.")
    input_margin: float = Field(
        1.05, description="Prompts are reserved as so many times what was counted of them."
    )
    uncounted: tuple[str, ...] = Field((), description="Kinds of media whose tokens nobody can count.")
    price_source: str | None = Field(None, description="Where the batch price comes from.")
    price_date: str | None = Field(None, description="Since when it holds, where that is known.")


def together(parts: Sequence[Estimate]) -> Estimate:
    """The estimate of several groups of requests, each with a model of its own: null where that of any is."""
    if len(parts) == 1:
        return parts[0]
    ranges = ("prompt", "output", "total", "total_usd", "realtime_usd")
    return Estimate(
        prompt_tokens=sum(each.prompt_tokens for each in parts),
        method=_joined(each.method for each in parts) or "",
        cost_usd=_sum(each.cost_usd for each in parts),
        output_method=_joined(each.output_method for each in parts) or "",
        most_usd=_sum(each.most_usd for each in parts),
        reserved_usd=_sum(each.reserved_usd for each in parts),
        reserved_method=_joined(each.reserved_method for each in parts) or "",
        input_margin=max(each.input_margin for each in parts),
        uncounted=tuple(dict.fromkeys(kind for each in parts for kind in each.uncounted)),
        price_source=_joined(each.price_source for each in parts),
        price_date=_joined(each.price_date for each in parts),
        **{name: reduce(add_ranges, (getattr(each, name) for each in parts)) for name in ranges},
    )


def _sum(amounts: Iterable[float | None]) -> float | None:
    known = list(amounts)
    return None if None in known else sum(each for each in known if each is not None)


def _joined(texts: Iterable[str | None]) -> str | None:
    return "; ".join(dict.fromkeys(text for text in texts if text)) or None
