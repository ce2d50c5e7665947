"""Estimate the tokens and the cost of a run from what was counted while its requests were made."""

from __future__ import annotations

from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Final

from configs.deadline import Lane
from configs.job import Job
from configs.prompt import Prompt
from configs.providers.billing import ANSWER_CAPS
from tasks.runs.prices import price_of, realtime_price_of
from tasks.stages.cost.calibration import History
from tasks.stages.cost.price import Price
from tasks.stages.prompt.tokenizer import STAND_IN
from tasks.stages.report.estimate import CostRange, Estimate, TokenRange, add_ranges
from tasks.stages.report.estimate_text import method_text
from tasks.stages.report.plan import PlannedDeadline

if TYPE_CHECKING:  # it brings Arrow and Jinja2, which commands that only look do without
    from tasks.stages.prompt.token_sample import SampleSummary

_SILENT: Final = ("/v1/embeddings", "/v1/moderations")
_LEAST_MARGIN: Final = 1.05  # a count is within 5 % of what is billed


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
    most_usd = _reserved_usd(job, moment, counted_tokens, requests, margin)
    answer_p95 = history.answer_p95 if history is not None else None
    reserved_usd = _reserved_usd(job, moment, counted_tokens, requests, margin, answer_p95)
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
        answer_p95=answer_p95,
        reserved_usd=reserved_usd if whole or not reserved_usd else None,
        reserved_method=_reserved_method(job.prompt, margin, answer_p95),
        input_margin=margin,
        uncounted=tuple(sample.uncounted),
        price_source=price and price.source,
        price_date=price and price.dated,
    )


def _prompt_range(prompt_tokens: int, requests: int, sample: SampleSummary) -> TokenRange:
    """The provider renders a schema in its own way: from nothing to all of its JSON. Media without a rule may be any number."""
    low, high = (1.0, 1.0) if sample.encoding.is_own else STAND_IN
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
        return TokenRange(low=0), "unknown: nothing limits the answers"
    return TokenRange(low=0, high=cap * requests), f"at most {name} for each request"


def answer_limit(prompt: Prompt) -> tuple[str | None, int | None]:
    """The parameter that limits an answer, and how many tokens one request's answers have at most; None without such a limit."""
    if prompt.endpoint in _SILENT:
        return None, 0
    params = prompt.params | dict(prompt.params.get("generationConfig") or {})
    found = [(name, params[name]) for name in ANSWER_CAPS if type(params.get(name)) is int]
    if not found or prompt.endpoint.startswith(("/v1/images", "/v1/videos")):
        return None, None
    name, cap = found[0]
    return name, cap * prompt.choices


def reserved_answer(prompt: Prompt, answer_p95: int | None) -> int | None:
    """Tokens that are reserved for one request's answers: the limit of them, or what 95 of 100 earlier ones keep to where that
    is less; None where neither is known."""
    known = [tokens for tokens in (answer_limit(prompt)[1], answer_p95) if tokens is not None]
    return min(known, default=None)


def _reserved_method(prompt: Prompt, margin: float, answer_p95: int | None) -> str:
    name, limit = answer_limit(prompt)
    answer = reserved_answer(prompt, answer_p95)
    prompts = f"prompts as {margin:,.2f} times their count"
    if answer is None:
        return ""
    if answer == limit:
        return f"{prompts}, answers of {answer:,} tokens, the most by {name}" if name else prompts
    return f"{prompts}, answers of {answer:,} tokens, to which 95 of 100 earlier ones kept"


def reservation(
    job: Job,
    moment: datetime,
    prompt_tokens: int,
    requests: int,
    margin: float = _LEAST_MARGIN,
    answer_p95: int | None = None,
    lane: Lane | None = None,
) -> tuple[int | None, float | None]:
    """Tokens and USD that count as spent of requests with so many counted tokens until their batch has ended; None for what
    is unknown. `margin` and `answer_p95` are the estimate's; without the latter, it is the most that they may take. `lane` is
    that of real-time calls."""
    answer = reserved_answer(job.prompt, answer_p95)
    price = price_of(job, moment, lane)
    if requests == 0 or (price is not None and price.is_free and answer is None):
        return None, 0.0
    if answer is None:
        return None, None
    prompts = ceil(prompt_tokens * margin)
    if price is not None and job.prompt.cache != "none":
        price = price.with_cache_writes
    usd = price.cost_usd(ceil(prompts / requests), answer) * requests if price is not None else None
    return prompts + answer * requests, usd


def _reserved_usd(
    job: Job,
    moment: datetime,
    prompt_tokens: int,
    requests: int,
    margin: float,
    answer_p95: int | None = None,
) -> float | None:
    """What all may reserve: as batches, but for as many rows as the deadline's caps let real-time calls answer. Without
    `answer_p95` it is the most that they may cost."""
    _, batch = reservation(job, moment, prompt_tokens, requests, margin, answer_p95)
    deadline = job.deadline
    if batch is None or deadline is None or not requests:
        return batch
    _, all_in_lane = reservation(job, moment, prompt_tokens, requests, margin, answer_p95, lane=deadline.lane)
    if all_in_lane is None:
        return None
    share = min(1.0, (deadline.max_rows or requests) / requests)
    if deadline.max_usd is not None and all_in_lane:
        share = min(share, deadline.max_usd / all_in_lane)
    return batch + max(0.0, all_in_lane - batch) * share


def planned_deadline(
    job: Job, now: datetime, prompt_tokens: int, requests: int, margin: float
) -> PlannedDeadline | None:
    """What the plan says of the deadline of a run that begins now; None for a job without one."""
    deadline = job.deadline
    if deadline is None:
        return None
    price = price_of(job, now, deadline.lane)
    _, all_usd = reservation(job, now, prompt_tokens, requests, margin, lane=deadline.lane)
    return PlannedDeadline(
        at=deadline.moment(now, job.zone).astimezone(job.zone),
        lane=deadline.lane,
        max_rows=deadline.max_rows,
        max_usd=deadline.max_usd,
        price_source=price and price.source,
        all_usd=all_usd,
    )


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
