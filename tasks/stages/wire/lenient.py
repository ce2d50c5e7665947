"""One OpenAI-dialect result line, read from plain dicts: slow, and forgiving of every known deviation.

This is the definition of what a line means; `results` only has a faster way for the ordinary ones.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from typing import Any

from tasks.stages.moderation import MODERATION_CATEGORIES
from tasks.stages.wire.json_values import (
    integer,
    json_text,
    loads,
    one_line,
    string,
    text_of,
)
from tasks.stages.wire.outcome import (
    ANSWERED,
    UNPARSABLE,
    Answer,
    ErrorClass,
    Outcome,
    RowStatus,
    classify,
    failure_status,
)

_ANSWER_KEYS = ("choices", "output", "data", "results")


def read_line(raw: bytes, endpoint: str, *, several: bool = False) -> Outcome:
    """The outcome of one line without its newline. Never raises; an unreadable line is UNPARSABLE.

    With `several`, the answer is the list of all choices.
    """
    try:
        line = loads(raw)
    except (ValueError, RecursionError):
        return UNPARSABLE
    custom_id = line.get("custom_id") if isinstance(line, dict) else None
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    if not isinstance(custom_id, str):
        return UNPARSABLE
    reader = _SEVERAL.get(endpoint) if several else None
    return _read(custom_id, line, endpoint, reader or _READERS.get(endpoint, _chat))


def decode_vector(value: Any) -> list[float] | None:
    """An embedding given as numbers or, with encoding_format base64, as little-endian float32."""
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
            return list(struct.unpack(f"<{len(raw) // 4}f", raw))
        except (ValueError, struct.error):
            return None
    if not isinstance(value, list):
        return None
    try:
        return [float(number) for number in value]
    except (TypeError, ValueError, OverflowError):
        return None


def _read(custom_id: str, line: dict[str, Any], endpoint: str, reader: _Reader) -> Outcome:
    response = _unwrapped(line.get("response"))
    status, body = _status_and_body(response)
    error = _own_error(line)
    if error is not None:
        return _failure(custom_id, error, status, body)
    if status is None and body is None:
        return _failure(custom_id, "the line holds neither a response nor an error", None, None)
    ok = status is None or 200 <= status < 300
    if not isinstance(body, dict):
        return _failure(custom_id, body if body is not None else "empty response body", status, None)
    if not ok or (body.get("error") and not any(body.get(key) for key in _ANSWER_KEYS)):
        if endpoint == "/v1/responses" and ok:
            return _answer(custom_id, body, reader)
        return _failure(custom_id, body.get("error") or body, status, body)
    return _answer(custom_id, body, reader)


def _unwrapped(value: Any) -> Any:
    """JSON inside a JSON string, as some services write bodies; any other text stays text."""
    if not isinstance(value, str):
        return value
    try:
        return loads(value.encode())
    except (ValueError, RecursionError):
        return value


def _status_and_body(response: Any) -> tuple[int | None, Any]:
    if not isinstance(response, dict):
        return None, response
    status = integer(response.get("status_code"))
    if "body" in response:
        return status, _unwrapped(response["body"])
    if status is None or any(key in response for key in _ANSWER_KEYS):
        return status, response
    return status, {"error": response["error"]} if response.get("error") else None


def _own_error(line: Mapping[str, Any]) -> Any:
    error = line.get("error")
    if error:
        return error
    code, message = line.get("error_code"), line.get("error_message")
    return {"code": code, "message": message} if code or message else None


def _failure(custom_id: str, error: Any, status: int | None, body: Any) -> Outcome:
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    code, message = (
        (_code(error), _message(error)) if isinstance(error, dict) else (None, one_line(text_of(error)))
    )
    if status is None and code is not None and code.isdigit():
        status = int(code) if len(code) == 3 else None
    code = code or (f"http_{status}" if status is not None and status >= 300 else "empty_response")
    error_class = classify(code, status)
    row_status = failure_status(code, error_class)
    usage = _usage(body) if isinstance(body, dict) else (None, None, None, None)
    refused = row_status is RowStatus.REFUSED
    return Outcome(
        custom_id,
        row_status,
        code,
        message,
        None if refused else error_class,
        None,
        string(body.get("model")) if isinstance(body, dict) else None,
        None,
        *usage,
    )


def _code(error: Mapping[str, Any]) -> str | None:
    for key in ("code", "type", "error_code"):
        value = error.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


def _message(error: Mapping[str, Any]) -> str | None:
    for key in ("message", "error_message", "detail", "msg"):
        if error.get(key):
            return text_of(error[key])
    return None


def _answer(custom_id: str, body: dict[str, Any], reader: _Reader) -> Outcome:
    status, answer, reason, code, message, error_class = reader(body)
    model = string(body.get("model"))
    return Outcome(custom_id, status, code, message, error_class, reason, model, answer, *_usage(body))


_Reading = tuple[RowStatus, Answer | None, str | None, str | None, str | None, ErrorClass | None]
_Reader = Callable[[Mapping[str, Any]], _Reading]
# with several choices the row says the worst of its answers
_WORSE = (RowStatus.SUCCEEDED, RowStatus.TRUNCATED, RowStatus.REFUSED)


def _empty(what: str) -> _Reading:
    return RowStatus.FAILED, None, None, "empty_response", f"no {what} in the response", ErrorClass.TRANSIENT


def _choices(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = body.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _first(read: _Reader) -> _Reader:
    """A reader of bodies out of a reader of one choice."""

    def body_reader(body: Mapping[str, Any]) -> _Reading:
        choices = _choices(body)
        return read(choices[0]) if choices else _empty("choices")

    return body_reader


def _every(read: _Reader) -> _Reader:
    """The same for all choices: one list, null where a choice says nothing."""

    def body_reader(body: Mapping[str, Any]) -> _Reading:
        found = sorted(_choices(body), key=lambda choice: integer(choice.get("index")) or 0)
        readings = [read(choice) for choice in found]
        spoken = [reading for reading in readings if reading[0] in ANSWERED]
        if not spoken:
            return readings[0] if readings else _empty("choices")
        worst = max(spoken, key=lambda reading: _WORSE.index(reading[0]))
        return worst[0], [reading[1] for reading in readings], *worst[2:]

    return body_reader


def _chat_choice(choice: Mapping[str, Any]) -> _Reading:
    message = choice.get("message")
    if not isinstance(message, dict):
        return _empty("message")
    text = _content_text(message.get("content"))
    refusal = string(message.get("refusal")) or _refusal_part(message.get("content"))
    calls = message.get("tool_calls") or message.get("function_call")
    if not text and calls:
        text = json_text(calls)
    return _finished(text, string(choice.get("finish_reason")), refusal)


def _completion_choice(choice: Mapping[str, Any]) -> _Reading:
    return _finished(string(choice.get("text")), string(choice.get("finish_reason")), None)


_chat = _first(_chat_choice)


def _finished(text: str | None, reason: str | None, refusal: str | None) -> _Reading:
    if refusal:
        return RowStatus.REFUSED, text or None, reason, "refusal", refusal, None
    if reason == "content_filter":
        message = "the provider's content filter stopped the answer"
        return RowStatus.REFUSED, text or None, reason, "content_filter", message, None
    if reason == "length":
        return RowStatus.TRUNCATED, text, reason, None, None, None
    if text is None:  # it only thought
        return RowStatus.FAILED, None, reason, *_empty("text")[3:]
    return RowStatus.SUCCEEDED, text, reason, None, None, None


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
    found = [string(part.get("refusal")) for part in content if isinstance(part, dict)]
    return "".join(part for part in found if part) or None


def _response(body: Mapping[str, Any]) -> _Reading:
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
        return (
            RowStatus.CANCELLED,
            text,
            state,
            "cancelled",
            "the provider cancelled the response",
            ErrorClass.CANCELLED,
        )
    if state == "incomplete":
        return _incomplete(text, body.get("incomplete_details"), refusal)
    return _finished(text, state, refusal)


def _response_failed(error: Any) -> _Reading:
    known = error if isinstance(error, dict) else {"message": error}
    code = _code(known) or "server_error"
    error_class = classify(code)
    status = failure_status(code, error_class)
    kept = None if status is RowStatus.REFUSED else error_class
    return status, None, "failed", code, _message(known), kept


def _incomplete(text: str | None, details: Any, refusal: str | None) -> _Reading:
    reason = string(details.get("reason")) if isinstance(details, dict) else None
    if refusal or reason == "content_filter":
        return _finished(text, reason, refusal)
    return RowStatus.TRUNCATED, text, reason or "incomplete", None, None, None


def _embedding(body: Mapping[str, Any]) -> _Reading:
    data = body.get("data")
    first = data[0] if isinstance(data, list) and data else None
    vector = decode_vector(first.get("embedding")) if isinstance(first, dict) else None
    if vector is None:
        return _empty("embedding")
    return RowStatus.SUCCEEDED, vector, None, None, None, None


def _moderation(body: Mapping[str, Any]) -> _Reading:
    results = body.get("results")
    first = results[0] if isinstance(results, list) and results else None
    if not isinstance(first, dict):
        return _empty("results")
    flags, scores = (_mapping(first.get(name)) for name in ("categories", "category_scores"))
    numbers = {name: float(score) for name, score in scores.items() if type(score) in (int, float)}
    known = {name: numbers.pop(name, None) for name in MODERATION_CATEGORIES}
    verdict = {
        "flagged": _flag(first.get("flagged")),
        "categories": {name: _flag(flags.get(name)) for name in MODERATION_CATEGORIES},
        "category_scores": known,
        "other_scores": numbers,
    }
    return RowStatus.SUCCEEDED, verdict, None, None, None, None


def _images(body: Mapping[str, Any]) -> _Reading:
    data = body.get("data")
    ending = string(body.get("output_format")) or "png"
    images = (
        [_image_url(item, ending) for item in data if isinstance(item, dict)]
        if isinstance(data, list)
        else []
    )
    urls = [url for url in images if url]
    return (RowStatus.SUCCEEDED, urls, None, None, None, None) if urls else _empty("image")


def _image_url(item: Mapping[str, Any], ending: str) -> str | None:
    text = string(item.get("b64_json"))
    return f"data:image/{ending};base64,{text}" if text else string(item.get("url"))


def _video(body: Mapping[str, Any]) -> _Reading:
    state = string(body.get("status"))
    if state == "expired":
        message = "the video expired before it was made"
        return RowStatus.EXPIRED, None, state, "video_expired", message, ErrorClass.EXPIRED
    if state != "completed":  # a line in a result file is final, whatever it calls itself
        return RowStatus.FAILED, None, state, f"video_{state}", f"the video is {state}", ErrorClass.REQUEST
    video = {name: string(body.get(name)) for name in ("id", "status", "seconds", "size")}
    found = {**video, "expires_at": integer(body.get("expires_at"))}
    return RowStatus.SUCCEEDED, found, state, None, None, None


_READERS: dict[str, _Reader] = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _response,
    "/v1/completions": _first(_completion_choice),
    "/v1/embeddings": _embedding,
    "/v1/moderations": _moderation,
    "/v1/images/generations": _images,
    "/v1/images/edits": _images,
    "/v1/videos": _video,
}
_SEVERAL: dict[str, _Reader] = {
    "/v1/chat/completions": _every(_chat_choice),
    "/v1/completions": _every(_completion_choice),
}


def _usage(body: Mapping[str, Any]) -> tuple[int | None, int | None, int | None, int | None]:
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None, None, None, None
    read, written = "prompt_tokens", "completion_tokens"
    if read not in usage and "input_tokens" in usage:
        read, written = "input_tokens", "output_tokens"
    details = usage.get(f"{read}_details")
    spent = usage.get(f"{written}_details")
    return (
        integer(usage.get(read)),
        integer(usage.get(written)),
        integer(details.get("cached_tokens")) if isinstance(details, dict) else None,
        integer(spent.get("reasoning_tokens")) if isinstance(spent, dict) else None,
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
