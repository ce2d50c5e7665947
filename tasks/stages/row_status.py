"""The statuses a row can end with, and what each of them means: every list of statuses is made from here."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self


class _Facts(NamedTuple):
    """`has_answer`: the model answered, so that the row is paid for, and posted again only where `retry.on` names its status.
    `is_success`: the row counts as answered in the receipt, the exit code and the error budget."""

    has_answer: bool
    is_success: bool


_NO_ANSWER = _Facts(has_answer=False, is_success=False)
_POOR_ANSWER = _Facts(has_answer=True, is_success=False)
_GOOD_ANSWER = _Facts(has_answer=True, is_success=True)


class RowStatus(StrEnum):
    """The one status a row ends with, in the order in which statuses are listed.

    What a model itself can say comes first, from the best to the worst: a row with several answers has the last of their
    statuses.
    """

    meaning: str
    has_answer: bool
    is_success: bool
    position: int

    SUCCEEDED = (
        "succeeded",
        _GOOD_ANSWER,
        "there is an answer, and it satisfies the schema if the job has one",
    )
    TRUNCATED = (
        "truncated",
        _POOR_ANSWER,
        "the answer was cut off at the token limit; what there is of it is kept",
    )
    REFUSED = "refused", _POOR_ANSWER, "the model or the provider's content filter refused"
    INVALID = "invalid", _POOR_ANSWER, "the answer does not satisfy the job's schema; its text is kept"
    FAILED = "failed", _NO_ANSWER, "the provider reports an error for the row, or refused the whole batch"
    EXPIRED = "expired", _NO_ANSWER, "the batch's time ran out before the row's turn, in every attempt"
    CANCELLED = (
        "cancelled",
        _NO_ANSWER,
        "its batch was cancelled before its turn, or it was not posted: a budget was reached, or the run gave up",
    )
    MISSING = "missing", _NO_ANSWER, "the provider's files do not mention the row"
    SKIPPED = (
        "skipped",
        _NO_ANSWER,
        "never posted: its template failed, it is too large, or its conversation or a file of it cannot be sent",
    )
    REUSED = "reused", _GOOD_ANSWER, "answered by an earlier run: not posted, and not paid for again"

    def __new__(cls, word: str, facts: _Facts, meaning: str) -> Self:
        """A member is its word, with what is known of it."""
        status = str.__new__(cls, word)
        status._value_ = word
        status.meaning = meaning
        status.has_answer, status.is_success = facts
        status.position = len(cls.__members__)
        return status
