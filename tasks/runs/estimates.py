"""Estimate the tokens and the cost of a run from what was counted while its requests were made."""

from __future__ import annotations

from datetime import datetime
from math import ceil
from typing import Final

from configs.job import Job
from configs.prompt import Prompt
from tasks.runs.prices import price_of, realtime_price_of
from tasks.stages.cost.calibration import History
from tasks.stages.cost.price import Price
from tasks.stages.prompt.token_sample import SampleSummary
from tasks.stages.report.estimate import CostRange, Estimate, TokenRange, add_ranges
from tasks.stages.report.estimate_text import method_text

_CAPS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")
_SILENT: Final = ("/v1/embeddings", "/v1/moderations")
_LEAST_MARGIN: Final = 1.05  # a count is within 5 % of what is billed
_STAND_IN: Final = (0.8, 1.4)
"""Of a count by another model's tokenizer. Unmeasured: newer tokenizers of Anthropic's are said to make a third more."""


def estimate(
    job: Job,
    moment: datetime,
    counted_tokens: int,
    requests: int,
    sample: SampleSummary,
    history: History | None = None,
) -> Estimate:
    """The estimate for `requests` requests with `counted_tokens` in all, at the prices of `moment`, corrected by what
    earlier batches came to."""
    price, realtime = price_of(job, moment), realtime_price_of(job, moment)
    prompt = _prompt_range(counted_tokens, requests, sample)
    if history is not None and not sample.uncounted:
        prompt = _calibrated(prompt, counted_tokens, sample, history)
    output, output_method = _output_range(job.prompt, requests, history)
    prompt_tokens = counted_tokens if prompt.expected is None else prompt.expected
    whole = not sample.uncounted
    margin = max(_LEAST_MARGIN, (prompt.high or 0) / max(1, counted_tokens))
    _, most_usd = reservation(job, moment, counted_tokens, requests, margin)
    prompt_cost = usd_of(price, prompt_tokens if whole or (price and price.is_free) else None, 0, requests)
    return Estimate(
        prompt_tokens=prompt_tokens,
        method=method_text(sample, counted_tokens, None if sample.uncounted else history),
        cost_usd=prompt_cost,
        prompt=prompt,
        output=output,
        output_method=output_method,
        total=add_ranges(prompt, output),
        total_usd=_cost(price, prompt, output, requests),
        realtime_usd=_cost(realtime, prompt, output, requests),
        most_usd=most_usd if whole or not most_usd else None,
        input_margin=margin,
        uncounted=tuple(sample.uncounted),
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


def _calibrated(prompt: TokenRange, counted: int, sample: SampleSummary, history: History) -> TokenRange:
    """The count times what the provider counted for each token of earlier batches. What other prompts came to may be far
    off for this one: then nothing of the range is given up."""
    low = round(max(0, counted - sample.error_tokens) * history.least_factor)
    high = round((counted + sample.error_tokens) * history.greatest_factor)
    if not history.same_prompt:
        low, high = min(low, prompt.low or 0), max(high, prompt.high or 0)
    return TokenRange(low=low, expected=round(counted * history.factor), high=high)


def _output_range(prompt: Prompt, requests: int, history: History | None) -> tuple[TokenRange, str]:
    """By earlier answers to the very same prompt, else what the job allows: other prompts have answers of other lengths."""
    if prompt.endpoint in _SILENT:
        return TokenRange(low=0, expected=0, high=0), "this endpoint bills no answers"
    if history is not None and history.same_prompt:
        mean, longest = history.output_mean, history.output_p95
        expected = TokenRange(
            low=round(requests * history.least_output_mean),
            expected=round(requests * mean),
            high=round(requests * max(mean, longest)),
        )
        return (
            expected,
            f"{history.answers:,} answers had {mean:,.1f} on average, 95 of 100 at most {longest:,.0f}",
        )
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


def reservation(
    job: Job, moment: datetime, prompt_tokens: int, requests: int, margin: float = _LEAST_MARGIN
) -> tuple[int | None, float | None]:
    """Tokens and USD that requests with so many counted tokens may take at most, which count as spent until their batch
    has ended; None for what is unknown. `margin` is the estimate's."""
    _, answer = answer_limit(job.prompt)
    price = price_of(job, moment)
    if requests == 0 or (price is not None and price.is_free and answer is None):
        return None, 0.0
    if answer is None:
        return None, None
    prompts = ceil(prompt_tokens * margin)
    if price is not None and job.prompt.cache != "none":
        price = price.with_cache_writes
    usd = price.cost_usd(ceil(prompts / requests), answer) * requests if price is not None else None
    return prompts + answer * requests, usd


def _cost(price: Price | None, prompt: TokenRange, output: TokenRange, requests: int) -> CostRange:
    if price is not None and price.is_free:
        return CostRange(low=0.0, expected=0.0, high=0.0)
    return CostRange(
        low=usd_of(price, prompt.low, output.low, requests),
        expected=usd_of(price, prompt.expected, output.expected, requests),
        high=usd_of(price, prompt.high, output.high, requests),
    )


def usd_of(
    price: Price | None, prompt_tokens: int | None, output_tokens: int | None, requests: int
) -> float | None:
    """What so many requests with so many tokens in all cost; None where that is unknown.

    By the average request: what a token costs may go by the length of the prompt it is in."""
    if price is None or prompt_tokens is None or output_tokens is None:
        return None
    size, longer = divmod(prompt_tokens, max(1, requests))
    answer = output_tokens / max(1, requests)
    return price.cost_usd(size, answer) * (requests - longer) + price.cost_usd(size + 1, answer) * longer
