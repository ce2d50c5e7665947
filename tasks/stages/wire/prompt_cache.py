"""What a line format knows of its vendor's prompt cache: how a request asks for it, and from which length on it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from configs.providers.registry import AnyProvider
from tasks.stages.prompt.tokenizer import STAND_IN

PRIMED_ROWS: Final = 20
"""The fewest requests for which one is posted before the others. It costs the run a batch's time."""


@dataclass(frozen=True)
class PromptCache:
    """One vendor's cache.

    `shared_texts` are the texts of a request tree before its mark; `minimum` is the fewest tokens that a model caches;
    `mark` is what a posted line has more for being marked, so that it can be taken out again.
    """

    shared_texts: Callable[[dict[str, Any]], list[str]]
    minimum: Callable[[str], int]
    mark: Callable[[AnyProvider], bytes]

    def is_too_short(self, tokens: int, model: str) -> bool:
        """Whether so many tokens, by a tokenizer that stands in for the model's, are certainly not cached. A request whose
        prefix is too short after all is billed like any other."""
        _, most = STAND_IN
        return tokens * most < self.minimum(model)
