"""The facts that `nightmail doctor` reports, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """What a fact means for a run: `ok`, `odd` (unlike OpenAI, and Nightmail copes), `bad` (it would fail), `note` (nothing)."""

    OK = "ok"
    ODD = "odd"
    BAD = "bad"
    NOTE = "note"


@dataclass(frozen=True)
class Fact:
    """One thing that was looked at, and how it is."""

    name: str
    grade: Grade
    detail: str


def verdict(facts: Iterable[Fact]) -> str:
    """All facts in one line: fit for runs or not, and why."""
    known = list(facts)
    bad = [fact.name for fact in known if fact.grade is Grade.BAD]
    odd = [fact.name for fact in known if fact.grade is Grade.ODD]
    if bad:
        return f"not fit: {', '.join(bad)}"
    return f"fit, with oddities that Nightmail copes with: {', '.join(odd)}" if odd else "fit"
