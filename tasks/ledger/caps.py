"""What a posting needs to be allowed, and the reasons why it is not: quota of a provider account, and budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

Matches = Callable[[str, str, str], bool]
"""Whether a budget is for the batches of (job, provider, model)."""


class QuotaSource(StrEnum):
    """Where a limit is known from."""

    JOB = "job"  # limits.max_enqueued_tokens
    STATED = "stated"  # a refusal named it
    GUESSED = "guessed"  # a refusal came, and there was less than that in the queue


@dataclass(frozen=True)
class Quota:
    """How many tokens may be in a model's open batches at once, who says so and since when."""

    tokens: int
    source: QuotaSource
    known_since: datetime | None = None


@dataclass(frozen=True)
class SpendingCap:
    """A budget as it stands now: what all batches that match may cost from `since` on.

    Without `since` it is this run's own; `until` is when the next window begins. One of `usd`, `tokens` and `rows` is given.
    `in_lane` counts only what real-time calls answer after a deadline, and what is about to be posted to them.
    """

    name: str
    matches: Matches
    usd: float | None = None
    tokens: int | None = None
    rows: int | None = None
    in_lane: bool = False
    since: datetime | None = None
    until: datetime | None = None

    @property
    def limit(self) -> float:
        """The cap in its own unit."""
        return self.usd if self.usd is not None else float(self.tokens or self.rows or 0)


@dataclass(frozen=True)
class Holder:
    """A run with batches in the queue. Of a run that is over, nobody else sees them end."""

    title: str
    tokens: int
    is_over: bool


@dataclass(frozen=True)
class NoRoom:
    """The queue is full, or another one has waited for longer."""

    quota: Quota
    enqueued: int
    holders: tuple[Holder, ...]
    goes_first: str | None = None


@dataclass(frozen=True)
class OverBudget:
    """A budget has not enough left. `spent` holds what is known and what is in flight."""

    cap: SpendingCap
    spent: float
    wanted: float


Refusal = NoRoom | OverBudget
