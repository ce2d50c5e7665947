"""Bodies of the OpenAI dialect that hold text, read from plain dicts: chat, completions, responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.json_values import integer, json_text, string, text_of
from tasks.stages.wire.outcome import ErrorClass, Reading, classify, failure_status

Reader = Callable[[Mapping[str, Any]], Reading]


def empty(part: str, finish_reason: str | None = None) -> Reading:
    """A body without the part that answers: asking again may help."""
    return Reading(
        status=RowStatus.FAILED,
        finish_reason=finish_reason,
        error_code="empty_response",
        error_message=f"no {part} in the response",
        error_class=ErrorClass.TRANSIENT,
    )


def _choices(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = body.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def first_choice(read: Reader) -> Reader:
    """A reader of bodies out of a reader of one choice."""

    def body_reader(body: Mapping[str, Any]) -> Reading:
        choices = _choices(body)
        return read(choices[0]) if choices else empty("choices")

    return body_reader


def every_choice(read: Reader) -> Reader:
    """The same for all choices: one list, null where a choice says nothing, and the status of the worst of them."""

    def body_reader(body: Mapping[str, Any]) -> Reading:
        choices = sorted(_choices(body), key=lambda choice: integer(choice.get("index")) or 0)
        readings = [read(choice) for choice in choices]
        answered = [reading for reading in readings if reading.status.has_answer]
        if not answered:
            return readings[0] if readings else empty("choices")
        worst = max(answered, key=lambda reading: reading.status.position)
        return replace(worst, answer=[reading.answer for reading in readings])

    return body_reader


def chat_choice(choice: Mapping[str, Any]) -> Reading:
    """A choice of chat; tool calls are its answer, as JSON, when there is no text."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return empty("message")
    text = _content_text(message.get("content"))
    refusal = string(message.get("refusal")) or _refusal_part(message.get("content"))
    calls = message.get("tool_calls") or message.get("function_call")
    if not text and calls:
        text = json_text(calls)
    return _finished(text, string(choice.get("finish_reason")), refusal)


def completion_choice(choice: Mapping[str, Any]) -> Reading:
    """A choice of completions."""
    return _finished(string(choice.get("text")), string(choice.get("finish_reason")), None)


def _finished(text: str | None, reason: str | None, refusal: str | None) -> Reading:
    if refusal or reason == "content_filter":
        return Reading(
            status=RowStatus.REFUSED,
            answer=text or None,
            finish_reason=reason,
            error_code="refusal" if refusal else "content_filter",
            error_message=refusal or "the provider's content filter stopped the answer",
        )
    if reason == "length":
        return Reading(status=RowStatus.TRUNCATED, answer=text, finish_reason=reason)
    if text is None:  # the model reasoned, and wrote nothing
        return empty("text", reason)
    return Reading(status=RowStatus.SUCCEEDED, answer=text, finish_reason=reason)


def _content_text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part if isinstance(part, str) else _part_text(part) for part in content]
    return "".join(part for part in parts if part) if any(part is not None for part in parts) else None


def _part_text(part: Any) -> str | None:
    return string(part.get("text")) if isinstance(part, dict) else None


def _refusal_part(content: Any) -> str | None:
    if not isinstance(content, list):
        return None
    refusals = [string(part.get("refusal")) for part in content if isinstance(part, dict)]
    return "".join(refusal for refusal in refusals if refusal) or None


def response(body: Mapping[str, Any]) -> Reading:
    """A response: the texts of its messages, joined; items of tools, as JSON, when there is no text."""
    output = body.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    state = string(body.get("status")) or "completed"
    messages = [item.get("content") for item in items if item.get("type") == "message"]
    texts = [text for text in map(_content_text, messages) if text is not None]
    text = "".join(texts) if texts else None
    refusal = "".join(part for part in map(_refusal_part, messages) if part) or None
    calls = [item for item in items if item.get("type") not in ("message", "reasoning")]
    if not text and calls:
        text = json_text(calls)
    if state == "failed" or (body.get("error") and not items):
        return _response_failed(body.get("error"))
    if state == "cancelled":
        return Reading(
            status=RowStatus.CANCELLED,
            answer=text,
            finish_reason=state,
            error_code="cancelled",
            error_message="the provider cancelled the response",
            error_class=ErrorClass.CANCELLED,
        )
    if state == "incomplete":
        return _incomplete(text, body.get("incomplete_details"), refusal)
    return _finished(text, state, refusal)


def _response_failed(error: Any) -> Reading:
    known = error if isinstance(error, dict) else {"message": error}
    code = code_of(known) or "server_error"
    error_class = classify(code)
    status = failure_status(code, error_class)
    return Reading(
        status=status,
        finish_reason="failed",
        error_code=code,
        error_message=message_of(known),
        error_class=None if status is RowStatus.REFUSED else error_class,
    )


def _incomplete(text: str | None, details: Any, refusal: str | None) -> Reading:
    reason = string(details.get("reason")) if isinstance(details, dict) else None
    if refusal or reason == "content_filter":
        return _finished(text, reason, refusal)
    return Reading(status=RowStatus.TRUNCATED, answer=text, finish_reason=reason or "incomplete")


def code_of(error: Mapping[str, Any]) -> str | None:
    """An error's code, wherever it stands."""
    for key in ("code", "type", "error_code"):
        value = error.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


def message_of(error: Mapping[str, Any]) -> str | None:
    """An error's text, wherever it stands."""
    for key in ("message", "error_message", "detail", "msg"):
        if error.get(key):
            return text_of(error[key])
    return None
