"""What `nightmail doctor` found out: one fact a line, and what it means for a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """`ok`, `odd` (unlike OpenAI, and Nightmail copes), `bad` (a run would fail), `note` (for information)."""

    OK = "ok"
    ODD = "odd"
    BAD = "bad"
    NOTE = "note"


@dataclass(frozen=True)
class Fact:
    """One thing that was looked at."""

    name: str
    grade: Grade
    detail: str


def verdict(facts: Iterable[Fact]) -> str:
    """All of them in one line."""
    found = list(facts)
    bad = [fact.name for fact in found if fact.grade is Grade.BAD]
    odd = [fact.name for fact in found if fact.grade is Grade.ODD]
    if bad:
        return f"not fit: {', '.join(bad)}"
    return f"fit, with oddities that Nightmail copes with: {', '.join(odd)}" if odd else "fit"
