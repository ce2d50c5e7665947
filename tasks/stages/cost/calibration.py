"""What finished batches teach of the ones to come: tokens that the provider counts for one counted here, and answers' lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ENOUGH_ANSWERS: Final = 20
"""Answers, of which one is longer than what 95 of 100 keep to."""


@dataclass(frozen=True)
class CountedBatch:
    """A finished batch: `estimated_tokens` is the count made here of all its requests, the tokens are those of its `counted`
    answers that say them, as the provider counts, and `output_p95` what 95 of 100 of these keep to."""

    requests: int
    estimated_tokens: int
    counted: int
    input_tokens: int
    output_tokens: int
    output_p95: int

    @property
    def local_tokens(self) -> float:
        """The count made here of the requests whose answers say their tokens: rows of one chunk are alike."""
        return self.estimated_tokens * self.counted / self.requests

    @property
    def factor(self) -> float:
        """Tokens that the provider counts for one counted here."""
        return self.input_tokens / self.local_tokens


@dataclass(frozen=True)
class History:
    """The newest finished batches, at least one: of the very same prompt over other rows, or of others of its kind."""

    batches: Sequence[CountedBatch]
    same_prompt: bool

    @property
    def factor(self) -> float:
        """Tokens that the provider counts for one counted here, over all batches."""
        return sum(each.input_tokens for each in self.batches) / sum(
            each.local_tokens for each in self.batches
        )

    @property
    def least_factor(self) -> float:
        """That of the batch with the fewest."""
        return min(each.factor for each in self.batches)

    @property
    def greatest_factor(self) -> float:
        """That of the batch with the most."""
        return max(each.factor for each in self.batches)

    @property
    def answers(self) -> int:
        """Answers that say their tokens."""
        return sum(each.counted for each in self.batches)

    @property
    def output_mean(self) -> float:
        """Tokens of an answer, on average."""
        return sum(each.output_tokens for each in self.batches) / self.answers

    @property
    def least_output_mean(self) -> float:
        """The same of the batch with the shortest answers."""
        return min(each.output_tokens / each.counted for each in self.batches)

    @property
    def output_p95(self) -> float:
        """The batches' 95th percentiles, on average over their answers."""
        return sum(each.output_p95 * each.counted for each in self.batches) / self.answers

    @property
    def answer_p95(self) -> int | None:
        """Tokens that 95 of 100 answers to this prompt keep to, of the batch with the longest ones; None where too few answers,
        or only answers to other prompts, say so."""
        if not self.same_prompt or self.answers < ENOUGH_ANSWERS:
            return None
        return max(each.output_p95 for each in self.batches) or None  # none of them says its answers' tokens
