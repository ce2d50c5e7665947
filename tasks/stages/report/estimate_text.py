"""Say what a run is estimated to take, how that was found, and how far off it may be."""

from __future__ import annotations

from tasks.stages.prompt.token_sample import SampleSummary
from tasks.stages.report.estimate import CostRange, Estimate


def method_text(sample: SampleSummary, prompt_tokens: int) -> str:
    """One line: the tokenizer, how many requests were counted, the error of the sample, and what is not certain."""
    name = sample.encoding.name
    parts = [name if sample.encoding.is_own else f"{name}, in place of the model's own tokenizer"]
    if sample.counted < sample.requests:
        share = sample.error_tokens / max(1, prompt_tokens)
        parts.append(f"{sample.counted:,} of {sample.requests:,} requests counted, ±{share:.1%}")
    if sample.specified_tokens:
        parts.append(
            f"schema and tools as JSON: {sample.specified_tokens:,} a request, the provider may count fewer"
        )
    if sample.uncounted:
        kinds = " and ".join(f"{count:,} {kind}" for kind, count in sample.uncounted.items())
        parts.append(f"not counted: {kinds}")
    return "; ".join(parts)


def answers_text(estimate: Estimate) -> str:
    """The tokens of the answers."""
    most = estimate.output.high
    return estimate.output_method if not most else f"at most {most:,} tokens ({estimate.output_method})"


def cost_lines(estimate: Estimate) -> list[str]:
    """The cost, beside it what real time would cost, and where the price comes from; a line each, named."""
    cost = estimate.cost_usd
    if cost == 0 and estimate.total_usd.high == 0:
        return ["  cost     free"]
    if estimate.price_source is None:
        return ["  cost     unknown price"]
    prompts = "unknown" if cost is None else f"about ${cost:,.4f}"
    lines = [f"  cost     {prompts} for the prompts, {_with_answers(estimate.total_usd)}"]
    if estimate.realtime_usd != CostRange():
        lines.append(f"  realtime {_with_answers(estimate.realtime_usd)}")
    dated = f", since {estimate.price_date}" if estimate.price_date else ""
    return [*lines, f"  price    {estimate.price_source}{dated}"]


def _with_answers(cost: CostRange) -> str:
    if cost.low is not None and cost.low == cost.high:
        return f"${cost.low:,.4f} in all"
    least = "" if cost.low is None else f"${cost.low:,.4f} "
    most = "or more" if cost.high is None else f"to ${cost.high:,.4f}"
    return f"{least}{most} with the answers" if least else "unknown with the answers"
