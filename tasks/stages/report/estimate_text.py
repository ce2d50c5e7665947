"""Say how prompt tokens were estimated, and how far off the estimate may be."""

from __future__ import annotations

from tasks.stages.prompt.token_sample import SampleSummary


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
