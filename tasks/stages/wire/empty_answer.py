"""The one rule for an answer without content, at every provider: it has failed, and asking again may help."""

from __future__ import annotations

import re

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.outcome import ErrorClass, Reading

_THOUGHT = re.compile(r"\s*<think>.*</think>\s*", re.DOTALL)


def says_nothing(text: str | None) -> bool:
    """Whether a text holds no answer: none at all, blanks, or nothing but a thought in `<think>` marks."""
    return not text or text.isspace() or ("</think>" in text and bool(_THOUGHT.fullmatch(text)))


def empty_answer(
    part: str, finish_reason: str | None = None, *, answer: str | None = None, reasoned: bool = False
) -> Reading:
    """The reading of a response without the part that answers; `answer` is what stood in its place, which is kept."""
    only = "; the model reasoned and wrote no answer" if reasoned else ""
    return Reading(
        status=RowStatus.FAILED,
        answer=answer,
        finish_reason=finish_reason,
        error_code="empty_answer",
        error_message=f"no {part} in the response{only}",
        error_class=ErrorClass.TRANSIENT,
    )
