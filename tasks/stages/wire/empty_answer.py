"""The one rule for an answer without content, at every provider: it has failed, and asking again may help."""

from __future__ import annotations

from tasks.stages.answers.thoughts import ENDS_OF_NOTHING, STARTS_OF_NOTHING, without_thoughts
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.outcome import ErrorClass, Reading


def says_nothing(text: str | None) -> bool:
    """Whether a text holds no answer: none at all, blanks, or nothing but a thought in its marks."""
    if not text or text.isspace():
        return True
    if text[0] not in STARTS_OF_NOTHING and text[-1] not in ENDS_OF_NOTHING:
        return False
    return not without_thoughts(text)[0]


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
