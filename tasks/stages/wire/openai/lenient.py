"""One OpenAI-dialect result line, read from plain dicts: slow, and forgiving of every known deviation.

This is the definition of what a line means; `results` only has a faster way for the ordinary ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.json_values import integer, loads, one_line, string, text_of
from tasks.stages.wire.openai.other_bodies import embedding, images, moderation, video
from tasks.stages.wire.openai.text_bodies import (
    Reader,
    chat_choice,
    code_of,
    completion_choice,
    every_choice,
    first_choice,
    message_of,
    response,
)
from tasks.stages.wire.outcome import UNPARSABLE, Outcome, TokenCounts, classify, failure_status
from tasks.stages.wire.unreadable import unreadable

_ANSWER_KEYS = ("choices", "output", "data", "results")


_READERS: dict[str, Reader] = {
    "/v1/chat/completions": first_choice(chat_choice),
    "/v1/responses": response,
    "/v1/completions": first_choice(completion_choice),
    "/v1/embeddings": embedding,
    "/v1/moderations": moderation,
    "/v1/images/generations": images,
    "/v1/images/edits": images,
    "/v1/videos": video,
}
_SEVERAL: dict[str, Reader] = {
    "/v1/chat/completions": every_choice(chat_choice),
    "/v1/completions": every_choice(completion_choice),
}


def read_line(raw: bytes, endpoint: str, *, several: bool = False) -> Outcome:
    """The outcome of one line without its newline. Never raises; an unreadable line is UNPARSABLE.

    With `several`, the answer is the list of all choices.
    """
    try:
        line = loads(raw)
    except (ValueError, RecursionError):
        return unreadable(raw)
    custom_id = line.get("custom_id") if isinstance(line, dict) else None
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    if not isinstance(custom_id, str):
        return UNPARSABLE
    reader = _SEVERAL.get(endpoint) if several else None
    return _read(
        custom_id, line, endpoint, reader or _READERS.get(endpoint, _READERS["/v1/chat/completions"])
    )


def _read(custom_id: str, line: dict[str, Any], endpoint: str, reader: Reader) -> Outcome:
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


def body_of(line: Mapping[str, Any]) -> Any:
    """The body of a line's response, wherever and however a service writes it."""
    return _status_and_body(_unwrapped(line.get("response")))[1]


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
        (code_of(error), message_of(error)) if isinstance(error, dict) else (None, one_line(text_of(error)))
    )
    if status is None and code is not None and code.isdigit():
        status = int(code) if len(code) == 3 else None
    code = code or (f"http_{status}" if status is not None and status >= 300 else "empty_response")
    error_class = classify(code, status, message)
    row_status = failure_status(code, error_class)
    known = body if isinstance(body, dict) else {}
    return Outcome(
        custom_id=custom_id,
        status=row_status,
        error_code=code,
        error_message=message,
        error_class=None if row_status is RowStatus.REFUSED else error_class,
        model=string(known.get("model")),
        **_usage(known),
    )


def _answer(custom_id: str, body: dict[str, Any], reader: Reader) -> Outcome:
    reading = reader(body)
    return Outcome(custom_id=custom_id, model=string(body.get("model")), **asdict(reading), **_usage(body))


def _usage(body: Mapping[str, Any]) -> TokenCounts:
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return {}
    read, written = "prompt_tokens", "completion_tokens"
    if read not in usage and "input_tokens" in usage:
        read, written = "input_tokens", "output_tokens"
    details = usage.get(f"{read}_details")
    spent = usage.get(f"{written}_details")
    return {
        "input_tokens": integer(usage.get(read)),
        "output_tokens": integer(usage.get(written)),
        "cached_tokens": integer(details.get("cached_tokens")) if isinstance(details, dict) else None,
        "reasoning_tokens": integer(spent.get("reasoning_tokens")) if isinstance(spent, dict) else None,
    }
