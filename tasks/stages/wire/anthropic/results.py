"""Result lines of Message Batches into outcomes: `{"custom_id", "result": {"type", ...}}`, all kinds in one file."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from msgspec.structs import asdict

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.dialect import LineByLine
from tasks.stages.wire.empty_answer import empty_answer, says_nothing
from tasks.stages.wire.json_values import integer, json_text, loads, one_line
from tasks.stages.wire.outcome import (
    UNPARSABLE,
    ErrorClass,
    Outcome,
    Reading,
    TokenCounts,
    classify,
    failure_status,
)
from tasks.stages.wire.unreadable import unreadable

# https://platform.claude.com/docs/en/api/errors: the others may be sent again as they are.
_REQUEST_ERRORS = frozenset(
    {
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
    }
)
_NEVER_ASKED = {
    "canceled": Reading(
        status=RowStatus.CANCELLED,
        error_code="canceled",
        error_message="the batch was cancelled before the row's turn",
        error_class=ErrorClass.CANCELLED,
    ),
    "expired": Reading(
        status=RowStatus.EXPIRED,
        error_code="expired",
        error_message="the batch's time ran out before the row's turn",
        error_class=ErrorClass.EXPIRED,
    ),
}
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_CUT_OFF = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn"})


def parser(endpoint: str) -> LineByLine:  # noqa: ARG001 - one shape for all
    """The parser of Message Batches; the answers are messages, whatever the job calls its endpoint."""
    return LineByLine(read_line)


def read_line(raw: bytes) -> Outcome:
    """The outcome of one line without its newline. Never raises; an unreadable line is UNPARSABLE."""
    try:
        line = loads(raw)
    except (ValueError, RecursionError):
        return unreadable(raw)
    custom_id = line.get("custom_id") if isinstance(line, dict) else None
    if not isinstance(custom_id, str):
        return UNPARSABLE
    result = _mapping(line.get("result"))
    match result.get("type"):
        case "succeeded" if isinstance(result.get("message"), dict):
            return _answer(custom_id, result["message"])
        case "canceled" | "expired" as ended:
            return Outcome(custom_id=custom_id, **asdict(_NEVER_ASKED[ended]))
        case kind:
            return _failure(custom_id, _text(kind) or "no_result", result.get("error"))


def _failure(custom_id: str, kind: str, error: Any) -> Outcome:
    """The error is in an envelope of its own: `{"type": "error", "error": {"type", "message"}}`; gateways leave that out."""
    outer = _mapping(error)
    inner = _mapping(outer.get("error")) or outer
    code = _text(inner.get("type")) or ("empty_response" if kind == "succeeded" else kind)
    message = (
        one_line(_text(inner.get("message")) or _text(error) or "")
        or f"a result of type {kind} without an answer"
    )
    error_class = classify(code, message=message)
    if code in _REQUEST_ERRORS and error_class is not ErrorClass.BILLING:
        error_class = ErrorClass.REQUEST
    return Outcome(
        custom_id=custom_id,
        status=failure_status(code, error_class),
        error_code=code,
        error_message=message,
        error_class=error_class,
    )


def _answer(custom_id: str, message: Mapping[str, Any]) -> Outcome:
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    reason = _text(message.get("stop_reason"))
    reading = _finished(reason, _answer_text(blocks), message.get("stop_details"), _has_thoughts(blocks))
    return Outcome(
        custom_id=custom_id,
        model=_text(message.get("model")),
        **{**asdict(reading), "finish_reason": reason},
        **_usage(_mapping(message.get("usage"))),
    )


def _finished(reason: str | None, answer: str | None, details: Any, reasoned: bool) -> Reading:
    if reason == "refusal":
        return Reading(
            status=RowStatus.REFUSED, answer=answer, error_code="refusal", error_message=_refusal(details)
        )
    if reason in _CUT_OFF:
        return Reading(status=RowStatus.TRUNCATED, answer=answer)
    if says_nothing(answer):
        return empty_answer("text", answer=answer, reasoned=reasoned)
    return Reading(status=RowStatus.SUCCEEDED, answer=answer)


def _answer_text(blocks: list[dict[str, Any]]) -> str | None:
    """The texts after the last use of a tool; calls that wait for the caller are the answer, as JSON, with the texts
    beside them."""
    said = [block for block in blocks if _text(block.get("type")) not in _THOUGHTS and _says_something(block)]
    if any(block.get("type") == "tool_use" for block in said):
        return json_text([block for block in said if _text(block.get("type")) in ("text", "tool_use")])
    last: str | None = None
    for is_text, run in groupby(said, key=lambda block: block.get("type") == "text"):
        last = "".join(block["text"] for block in run) if is_text else last
    uses = [block for block in said if block.get("type") == "server_tool_use"]
    return last if not says_nothing(last) or not uses else json_text(uses)


def _says_something(block: dict[str, Any]) -> bool:
    return block.get("type") != "text" or bool(_text(block.get("text")))


def _has_thoughts(blocks: list[dict[str, Any]]) -> bool:
    return any(_text(block.get("type")) in _THOUGHTS for block in blocks)


def _refusal(details: Any) -> str:
    known = _mapping(details)
    parts = [text for text in (_text(known.get("category")), _text(known.get("explanation"))) if text]
    return ": ".join(parts) or "the model refused"


def _usage(usage: Mapping[str, Any]) -> TokenCounts:
    """The whole prompt is what was fresh, read from the cache and written to it: for five minutes, unless it says how
    much of it for an hour."""
    fresh = integer(usage.get("input_tokens"))
    read = integer(usage.get("cache_read_input_tokens"))
    written = integer(usage.get("cache_creation_input_tokens"))
    thought = integer(_mapping(usage.get("output_tokens_details")).get("thinking_tokens"))
    whole = None if fresh is None else integer(fresh + (read or 0) + (written or 0))
    hour = integer(_mapping(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")) or 0
    return {
        "input_tokens": whole,
        "output_tokens": integer(usage.get("output_tokens")),
        "cached_tokens": read,
        "reasoning_tokens": thought,
        "cache_write_tokens": max(0, (written or 0) - hour),
        "cache_write_1h_tokens": hour,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
