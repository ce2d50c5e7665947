"""The one rule for an answer without content, at every provider: it has failed, and asking again may help."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from tasks.stages.answers.thoughts import (
    ENDS_OF_NOTHING,
    STARTS_OF_NOTHING,
    may_say_nothing,
    without_thoughts,
)
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.outcome import ErrorClass, Reading

_FIRST: Final = itemgetter(0)
_LAST: Final = itemgetter(-1)


def says_nothing(text: str | None) -> bool:
    """Whether a text holds no answer: none at all, blanks, or nothing but a thought in its marks."""
    return not text or (may_say_nothing(text) and not without_thoughts(text)[0])


def any_says_nothing(texts: Sequence[str]) -> bool:
    """Whether one of many texts holds no answer. Raises TypeError or IndexError where one is None or empty."""
    starts, ends = set(map(_FIRST, texts)), set(map(_LAST, texts))
    if starts.isdisjoint(STARTS_OF_NOTHING) and ends.isdisjoint(ENDS_OF_NOTHING):
        return False  # a third of what looking at each costs
    return any(map(says_nothing, texts))


def empty_answer(
    part: str, finish_reason: str | None = None, *, answer: str | None = None, reasoned: bool = False
) -> Reading:
    """The reading of a response without the part that answers; `answer` is what stood in its place, which is kept."""
    thought = reasoned or (answer is not None and without_thoughts(answer)[1])
    only = "; the model reasoned and wrote no answer" if thought else ""
    return Reading(
        status=RowStatus.FAILED,
        answer=answer,
        finish_reason=finish_reason,
        error_code="empty_answer",
        error_message=f"no {part} in the response{only}",
        error_class=ErrorClass.TRANSIENT,
    )
