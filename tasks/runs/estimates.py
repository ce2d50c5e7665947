"""Estimate the tokens and the cost of a run from what was counted while its requests were made."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from configs.job import Job
from configs.prompt import Prompt
from tasks.runs.prices import price_of, realtime_price_of
from tasks.stages.cost.price import Price
from tasks.stages.prompt.token_sample import SampleSummary
from tasks.stages.report.estimate import CostRange, Estimate, TokenRange
from tasks.stages.report.estimate_text import method_text

_CAPS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")
_SILENT: Final = ("/v1/embeddings", "/v1/moderations")
_STAND_IN: Final = (0.8, 1.4)
"""Of a count by another model's tokenizer. Unmeasured: newer tokenizers of Anthropic's are said to make a third more."""


def estimate(
    job: Job, moment: datetime, prompt_tokens: int, requests: int, sample: SampleSummary
) -> Estimate:
    """The estimate for `requests` requests with `prompt_tokens` in all, at the prices of `moment`."""
    price, realtime = price_of(job, moment), realtime_price_of(job, moment)
    prompt = _prompt_range(prompt_tokens, requests, sample)
    output, output_method = _output_range(job.prompt, requests)
    whole = not sample.uncounted
    prompt_cost = _usd(price, prompt_tokens if whole or (price and price.is_free) else None, 0, requests)
    return Estimate(
        prompt_tokens=prompt_tokens,
        method=method_text(sample, prompt_tokens),
        cost_usd=prompt_cost,
        prompt=prompt,
        output=output,
        output_method=output_method,
        total=_sum(prompt, output),
        total_usd=_cost(price, prompt, output, requests),
        realtime_usd=_cost(realtime, prompt, output, requests),
        price_source=price and price.source,
        price_date=price and price.dated,
    )


def _prompt_range(prompt_tokens: int, requests: int, sample: SampleSummary) -> TokenRange:
    """The provider renders a schema in its own way: from nothing to all of its JSON. Media without a rule may be any number."""
    low, high = (1.0, 1.0) if sample.encoding.is_own else _STAND_IN
    least = prompt_tokens - sample.error_tokens - requests * sample.specified_tokens
    if sample.uncounted:
        return TokenRange(low=max(0, round(least * low)))
    most = round((prompt_tokens + sample.error_tokens) * high)
    return TokenRange(low=max(0, round(least * low)), expected=prompt_tokens, high=most)


def _output_range(prompt: Prompt, requests: int) -> tuple[TokenRange, str]:
    if prompt.endpoint in _SILENT:
        return TokenRange(low=0, expected=0, high=0), "this endpoint bills no answers"
    name, cap = answer_limit(prompt)
    if cap is None:
        return TokenRange(low=0), "unknown: the job sets no limit of the answers"
    return TokenRange(low=0, high=cap * requests), f"at most {name} for each request"


def answer_limit(prompt: Prompt) -> tuple[str | None, int | None]:
    """The parameter that limits an answer, and how many tokens one request's answers have at most; None without such a limit."""
    if prompt.endpoint in _SILENT:
        return None, 0
    params = prompt.params | dict(prompt.params.get("generationConfig") or {})
    found = [(name, params[name]) for name in _CAPS if type(params.get(name)) is int]
    if not found or prompt.endpoint.startswith(("/v1/images", "/v1/videos")):
        return None, None
    name, cap = found[0]
    return name, cap * prompt.choices


def _sum(prompt: TokenRange, output: TokenRange) -> TokenRange:
    def add(one: int | None, other: int | None) -> int | None:
        return None if one is None or other is None else one + other

    return TokenRange(
        low=add(prompt.low, output.low),
        expected=add(prompt.expected, output.expected),
        high=add(prompt.high, output.high),
    )


def _cost(price: Price | None, prompt: TokenRange, output: TokenRange, requests: int) -> CostRange:
    if price is not None and price.is_free:
        return CostRange(low=0.0, expected=0.0, high=0.0)
    return CostRange(
        low=_usd(price, prompt.low, output.low, requests),
        expected=_usd(price, prompt.expected, output.expected, requests),
        high=_usd(price, prompt.high, output.high, requests),
    )


def _usd(
    price: Price | None, prompt_tokens: int | None, output_tokens: int | None, requests: int
) -> float | None:
    """By the average request: what a token costs may go by the length of the prompt it is in."""
    if price is None or prompt_tokens is None or output_tokens is None:
        return None
    size, longer = divmod(prompt_tokens, max(1, requests))
    answer = output_tokens / max(1, requests)
    return price.cost_usd(size, answer) * (requests - longer) + price.cost_usd(size + 1, answer) * longer
