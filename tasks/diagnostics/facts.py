"""The result of a check by `nightmail doctor`, and the verdict over all results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """What a check's result means for runs.

    `ok`: works; `odd`: unlike OpenAI's service, and Nightmail copes; `bad`: a run would fail; `note`: no effect on runs.
    """

    OK = "ok"
    ODD = "odd"
    BAD = "bad"
    NOTE = "note"


@dataclass(frozen=True)
class Fact:
    """The result of one check: what was checked, how good it is, and the details in one line.

    `honoured` is whether the service does what was checked, where the grade does not tell: neither matters to runs then.
    """

    name: str
    grade: Grade
    detail: str
    honoured: bool | None = None


Report = Callable[[Fact], None]
"""Receives each result as soon as it is known."""


_ANSWERS = ("answer", "answers")


def verdict(facts: Iterable[Fact], *, of_service: bool = False) -> str:
    """Sum up all results in one line: fit for runs or not, and why. A service is fit once it has answered."""
    all_facts = list(facts)
    bad = [fact.name for fact in all_facts if fact.grade is Grade.BAD]
    odd = [fact.name for fact in all_facts if fact.grade is Grade.ODD]
    if bad:
        return f"not fit: {', '.join(bad)}"
    if of_service and not any(fact.name in _ANSWERS and fact.grade is Grade.OK for fact in all_facts):
        seen = [fact.name for fact in all_facts if fact.grade in (Grade.OK, Grade.ODD)]
        return f"nothing wrong with {', '.join(seen) or 'what was seen'}; whether it is fit is open: no answer was seen"
    return f"fit, with oddities that Nightmail copes with: {', '.join(odd)}" if odd else "fit"
