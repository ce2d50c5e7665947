"""The outcome of a result line in the same terms for every provider, and the classification of errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypedDict

from msgspec import Struct
from msgspec.structs import astuple

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.billing import is_billing_refusal


class ErrorClass(StrEnum):
    """Why a row has no answer, in classes that decide whether posting it again can help."""

    TRANSIENT = "transient"
    CAPACITY = "capacity"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    BILLING = "billing"  # asked again whatever `retry.on` says, and no attempt
    REPLY_LOST = "reply_lost"  # perhaps answered, and paid for: asked again only where `retry.on` names it
    REQUEST = "request"

    @property
    def retryable(self) -> bool:
        """Whether posting again can help: always, except for a fault of the request itself."""
        return self is not ErrorClass.REQUEST


Answer = str | list[Any] | dict[str, Any]


class Reading(Struct, frozen=True, kw_only=True):
    """The part of an outcome that comes from the response's body: without the row's id and token counts."""

    status: RowStatus
    answer: Answer | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_class: ErrorClass | None = None


class TokenCounts(TypedDict, total=False):
    """The token counts of an Outcome, by field name."""

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """What one result line says about its row.

    `custom_id` and `status` are None exactly when the line cannot be parsed (`UNPARSABLE`): it belongs to no row then.
    `input_tokens` counts the whole prompt, tokens read from a cache and written to one included (the latter have prices
    of their own: for five minutes, for an hour); None is "the provider did not say".
    `answer` is what `tasks.stages.answers.columns` says of the endpoint: text, a list of texts where several were asked for, a
    vector, a moderation result, the URLs of images (data URLs where they are embedded), a video object.
    """

    custom_id: str | None
    status: RowStatus | None
    error_code: str | None = None
    error_message: str | None = None
    error_class: ErrorClass | None = None
    finish_reason: str | None = None
    model: str | None = None
    answer: Answer | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None

    @property
    def has_answer(self) -> bool:
        """Whether the model answered: the row is paid for, and posting it again would pay twice."""
        return self.status is not None and self.status.has_answer

    @property
    def retryable(self) -> bool:
        """Whether another attempt can help."""
        return self.error_class is not None and self.error_class.retryable


OUTCOME_FIELDS = Outcome.__struct_fields__
UNPARSABLE = Outcome(custom_id=None, status=None)
"""The outcome of a line that cannot be parsed."""


def as_columns(outcomes: Sequence[Outcome]) -> dict[str, Sequence[Any]]:
    """Outcomes field by field: keys are the fields of Outcome, values of equal length."""
    values = list(zip(*map(astuple, outcomes), strict=True)) or [()] * len(OUTCOME_FIELDS)
    return dict(zip(OUTCOME_FIELDS, values, strict=True))


REPLY_LOST = "reply_lost"
"""The code of a real-time call that was sent and whose reply never came."""
REFUSAL_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "datainspectionfailed",
        "moderation_blocked",
    }
)
_EXPIRED = re.compile(r"batch_expired|expired")
_CANCELLED = re.compile(r"batch_cancel|cancell?ed")
_CAPACITY = re.compile(
    r"rate_?limit|quota|token_limit_exceeded|throttl|overloaded|too_many_requests|exhausted"
)
_REQUEST = re.compile(
    r"invalid|unreadable|unsupported|not_found|not_supported|too_large|too_long|length_exceeded|missing_|mismatch"
    r"|duplicate|unknown_|bad_request|denied|unauthor|authentication|permission|policy|content_filter|inspection"
    r"|unauthenticated|precondition|out_of_range|unimplemented|already_exists"
)


def classify(code: str | None, http_status: int | None = None, message: str | None = None) -> ErrorClass:
    """The class of an error, by HTTP status where there is one, else by the words in its code; `message` tells where an
    account cannot pay.

    A code nobody knows counts as transient: failed rows are not billed, and attempts are limited.
    """
    error_words = (code or "").lower()
    if code == REPLY_LOST:
        return ErrorClass.REPLY_LOST
    if is_billing_refusal(code, message, http_status):
        return ErrorClass.BILLING
    if http_status is not None and http_status >= 300:
        return _by_status(http_status, error_words)
    for pattern, error_class in (
        (_EXPIRED, ErrorClass.EXPIRED),
        (_CANCELLED, ErrorClass.CANCELLED),
        (_CAPACITY, ErrorClass.CAPACITY),
        (_REQUEST, ErrorClass.REQUEST),
    ):
        if pattern.search(error_words):
            return error_class
    return ErrorClass.TRANSIENT


def _by_status(http_status: int, error_words: str) -> ErrorClass:
    if http_status == 429:
        return ErrorClass.CAPACITY
    if http_status >= 500 or http_status in (408, 409, 425):
        return ErrorClass.TRANSIENT
    if _CAPACITY.search(error_words):
        return ErrorClass.CAPACITY
    return ErrorClass.REQUEST


def failure_status(code: str | None, error_class: ErrorClass) -> RowStatus:
    """The row status of a line with an error instead of an answer."""
    if code is not None and code.lower() in REFUSAL_CODES:
        return RowStatus.REFUSED
    if error_class is ErrorClass.EXPIRED:
        return RowStatus.EXPIRED
    if error_class is ErrorClass.CANCELLED:
        return RowStatus.CANCELLED
    return RowStatus.FAILED
