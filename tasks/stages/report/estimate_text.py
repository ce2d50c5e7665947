"""Say what a run is estimated to take, how that was found, and how far off it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.stages.cost.calibration import History
from tasks.stages.report.estimate import CostRange, Estimate, Revision
from tasks.stages.report.formatting import count_with_noun

if TYPE_CHECKING:  # it brings Arrow and Jinja2, which commands that only look do without
    from tasks.stages.prompt.token_sample import SampleSummary


def method_text(sample: SampleSummary, prompt_tokens: int, history: History | None) -> str:
    """One line: the tokenizer, how many requests were counted, the error of the sample, and what is not certain."""
    name = sample.encoding.name
    is_known = sample.encoding.is_own or (history is not None and history.same_prompt)
    parts = [name if is_known else f"{name}, in place of the model's own tokenizer"]
    if sample.counted < sample.requests:
        share = sample.error_tokens / max(1, prompt_tokens)
        parts.append(f"{sample.counted:,} of {sample.requests:,} requests counted, ±{share:.1%}")
    if history is not None:
        parts.append(calibration_text(history))
    if sample.specified_tokens and not (history and history.same_prompt):
        parts.append(
            f"schema and tools as JSON: {sample.specified_tokens:,} a request, the provider may count fewer"
        )
    if sample.uncounted:
        kinds = " and ".join(f"{count:,} {kind}" for kind, count in sample.uncounted.items())
        parts.append(f"not counted: {kinds}")
    return "; ".join(parts)


def calibration_text(history: History) -> str:
    """What the count was multiplied by, and where that comes from."""
    batches = count_with_noun(len(history.batches), "finished batch", "finished batches")
    of = "this prompt" if history.same_prompt else "other prompts of this kind"
    return f"× {history.factor:.3f} by {batches} of {of}"


def revision_text(revision: Revision) -> str:
    """What a run comes to by its finished chunks."""
    cost = "" if revision.cost_usd is None else f", ${revision.cost_usd:,.4f}"
    chunks = f"{revision.finished_chunks:,} of {revision.chunks:,} chunks"
    return f"about {revision.prompt_tokens:,} tokens in, {revision.output_tokens:,} out{cost} in all (by {chunks})"


def answers_text(estimate: Estimate) -> str:
    """The tokens of the answers."""
    most, expected = estimate.output.high, estimate.output.expected
    if expected and most:
        return f"about {expected:,} tokens, up to {most:,} ({estimate.output_method})"
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


def reserved_text(estimate: Estimate) -> str:
    """What budgets have to hold for the run, and what that is computed from; empty where that is unknown."""
    if not estimate.reserved_method:
        return ""
    usd = f"${estimate.reserved_usd:,.4f}: " if estimate.reserved_usd else ""
    return f"{usd}{estimate.reserved_method}"


def _with_answers(cost: CostRange) -> str:
    if cost.low is not None and cost.low == cost.high:
        return f"${cost.low:,.4f} in all"
    if cost.expected is not None and None not in (cost.low, cost.high):
        return f"about ${cost.expected:,.4f} with the answers (${cost.low:,.4f} to ${cost.high:,.4f})"
    least = "" if cost.low is None else f"${cost.low:,.4f} "
    most = "or more" if cost.high is None else f"to ${cost.high:,.4f}"
    return f"{least}{most} with the answers" if least else "unknown with the answers"
