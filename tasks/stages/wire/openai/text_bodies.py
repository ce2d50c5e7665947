"""Bodies of the OpenAI dialect that hold text, read from plain dicts: chat, completions, responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.empty_answer import empty_answer, says_nothing
from tasks.stages.wire.json_values import integer, json_text, string, text_of
from tasks.stages.wire.outcome import ErrorClass, Reading, classify, failure_status

Reader = Callable[[Mapping[str, Any]], Reading]
CALLS = frozenset({"function_call", "custom_tool_call"})
"""Items of a response that ask the caller to do something."""


def _choices(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = body.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def first_choice(read: Reader) -> Reader:
    """A reader of bodies out of a reader of one choice."""

    def body_reader(body: Mapping[str, Any]) -> Reading:
        choices = _choices(body)
        return read(choices[0]) if choices else empty_answer("choices")

    return body_reader


def every_choice(read: Reader) -> Reader:
    """The same for all choices: one list, null where a choice says nothing, and the status of the worst of them."""

    def body_reader(body: Mapping[str, Any]) -> Reading:
        choices = sorted(_choices(body), key=lambda choice: integer(choice.get("index")) or 0)
        readings = [read(choice) for choice in choices]
        answered = [reading for reading in readings if reading.status.has_answer]
        if not answered:
            return replace(readings[0], answer=None) if readings else empty_answer("choices")
        worst = max(answered, key=lambda reading: reading.status.position)
        texts = [reading.answer if reading.status.has_answer else None for reading in readings]
        return replace(worst, answer=texts)

    return body_reader


def chat_choice(choice: Mapping[str, Any]) -> Reading:
    """A choice of chat; tool calls are its answer, as JSON, together with the text beside them."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return empty_answer("message")
    text = _content_text(message.get("content"))
    if text is None and isinstance(message.get("audio"), dict):
        text = string(message["audio"].get("transcript"))
    refusal = string(message.get("refusal")) or _refusal_part(message.get("content"))
    called = {name: message[name] for name in ("tool_calls", "function_call") if message.get(name)}
    if called:
        beside = {} if says_nothing(text) else {"content": text}
        text = json_text({**beside, **called} if beside else next(iter(called.values())))
    reasoned = bool(message.get("reasoning_content") or message.get("reasoning"))
    return _finished(text, string(choice.get("finish_reason")), refusal, reasoned=reasoned)


def completion_choice(choice: Mapping[str, Any]) -> Reading:
    """A choice of completions."""
    return _finished(string(choice.get("text")), string(choice.get("finish_reason")), None)


def _finished(
    text: str | None, reason: str | None, refusal: str | None, *, reasoned: bool = False
) -> Reading:
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
    if says_nothing(text):
        return empty_answer("text", reason, answer=text, reasoned=reasoned)
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
    """A response: the text of its final message; tool calls, as JSON, together with the message before them."""
    output = body.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    state = string(body.get("status")) or "completed"
    messages = [item for item in items if item.get("type") == "message"]
    refusal = "".join(part for item in messages if (part := _refusal_part(item.get("content")))) or None
    text = _response_text(items, messages)
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
    reasoned = any(item.get("type") == "reasoning" for item in items)
    return _finished(text, state, refusal, reasoned=reasoned)


def _response_text(items: list[dict[str, Any]], messages: list[dict[str, Any]]) -> str | None:
    """The last message of the phase `final_answer`, else the last that says something.

    Calls that the caller has to carry out end a response: they are its answer, with the message beside them. Without any
    message, whatever else there is.
    """
    final = final_message(messages)
    calls = [item for item in items if string(item.get("type")) in CALLS]
    others = [item for item in items if item.get("type") not in ("message", "reasoning")]
    if calls:
        return json_text([*([final] if final else []), *calls])
    if final:
        return _content_text(final.get("content"))
    return (
        json_text(others) if others else next((_content_text(each.get("content")) for each in messages), None)
    )


def final_message(items: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The message that is a response's answer; None where no message says anything."""
    messages = [item for item in items if item.get("type") == "message"]
    spoken = [item for item in messages if not says_nothing(_content_text(item.get("content")))]
    final = [item for item in spoken if item.get("phase") == "final_answer"] or spoken
    return final[-1] if final else None


def _response_failed(error: Any) -> Reading:
    known = error if isinstance(error, dict) else {"message": error}
    code = code_of(known) or "server_error"
    error_class = classify(code, message=message_of(known))
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
