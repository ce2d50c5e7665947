"""Single answers gone wrong, for tests: HTTP errors, refusals, cut or unreadable text, awkward characters."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
import orjson

from tasks.local_batch.protocol.lines import Answer, failure

# Line separators that only Unicode knows, a lone CR, NUL, an emoji, Japanese: raw where JSON allows it, escaped
# where it must be or where services are known to do it. AWKWARD is the text, AWKWARD_JSON its spelling on the wire.
AWKWARD: Final = "ls\u2028ps\u2029nel\u0085cr\rnul\x00 \U0001f4ee\U0001f319 日本語 end"
AWKWARD_JSON: Final = (
    "ls\u2028ps\u2029nel\u0085cr\\rnul\\u0000 \U0001f4ee\\ud83c\\udf19 \\u65e5\\u672c\\u8a9e end".encode()
)
_PLACE: Final = "@@awkward@@"
_ERRORS: Final = {
    400: (
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is exceeded.",
    ),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", None, "The server had an error while processing your request."),
}

Bend = Callable[[Answer, tuple[str, ...]], Answer]


def chosen(custom_id: str, which: tuple[str, ...]) -> bool:
    """Whether a row is meant: all rows, a share of them, or ids joined by `|`."""
    if not which or not which[0]:
        return True
    try:
        share = float(which[0])
    except ValueError:
        return custom_id in ":".join(which).split("|")
    return zlib.crc32(custom_id.encode()) % 10_000 < share * 10_000


def row_error(answer: Answer, args: tuple[str, ...]) -> Answer:
    """An HTTP error instead of an answer."""
    status = int(args[0])
    kind, code, message = _ERRORS.get(status, ("invalid_request_error", None, f"Told to fail with {status}."))
    return failure(answer.custom_id, status, message, kind=kind, code=code)


def refusal(answer: Answer, _: tuple[str, ...]) -> Answer:
    """The model declines: text null, refusal set."""

    def edit(body: dict[str, Any]) -> None:
        for choice in body.get("choices", []):
            choice["message"].update(content=None, refusal="I can't help with that.")
        for item in body.get("output", []):
            item["content"] = [{"type": "refusal", "refusal": "I can't help with that."}]

    return _edited(answer, edit)


def length(answer: Answer, _: tuple[str, ...]) -> Answer:
    """Half the text, stopped by length; Responses come without any message."""

    def edit(body: dict[str, Any]) -> None:
        for choice in body.get("choices", []):
            place, name = (choice["message"], "content") if "message" in choice else (choice, "text")
            place[name] = place[name][: len(place[name]) // 2]
            choice["finish_reason"] = "length"
        if body.get("object") == "response":
            reason = {"reason": "max_output_tokens"}
            reasoning = {"id": "rs_1", "type": "reasoning", "summary": []}
            body.update(status="incomplete", completed_at=None, incomplete_details=reason, output=[reasoning])

    return _edited(answer, edit)


def content_filter(answer: Answer, _: tuple[str, ...]) -> Answer:
    """No text, stopped by the content filter."""

    def edit(body: dict[str, Any]) -> None:
        for choice in body.get("choices", []):
            choice["message"]["content"] = ""
            choice["finish_reason"] = "content_filter"
        if body.get("object") == "response":
            reason = {"reason": "content_filter"}
            body.update(status="incomplete", completed_at=None, incomplete_details=reason, output=[])

    return _edited(answer, edit)


def invalid_json(answer: Answer, _: tuple[str, ...]) -> Answer:
    """Text that is no JSON, and says that it is complete."""
    return _edited(answer, lambda body: _set_text(body, '{"label": "unfinished'))


def raw_u2028(answer: Answer, _: tuple[str, ...]) -> Answer:
    """Text with every awkward character."""
    changed = _edited(answer, lambda body: _set_text(body, _PLACE))
    return msgspec.structs.replace(changed, body=changed.body.replace(_PLACE.encode(), AWKWARD_JSON))


def body_as_string(answer: Answer, _: tuple[str, ...]) -> Answer:
    """The body's JSON, once more in quotes."""
    return msgspec.structs.replace(answer, body=orjson.dumps(answer.body.decode()))


BENDS: Final[dict[str, Bend]] = {
    "row_error": row_error,
    "refusal": refusal,
    "length": length,
    "content_filter": content_filter,
    "invalid_json": invalid_json,
    "raw_u2028": raw_u2028,
    "body_as_string": body_as_string,
}


def _edited(answer: Answer, edit: Callable[[dict[str, Any]], None]) -> Answer:
    if not answer.succeeded:
        return answer
    body = orjson.loads(answer.body)
    edit(body)
    return msgspec.structs.replace(answer, body=orjson.dumps(body))


def _set_text(body: dict[str, Any], text: str) -> None:
    for choice in body.get("choices", []):
        if "message" in choice:
            choice["message"]["content"] = text
        else:
            choice["text"] = text
    for item in body.get("output", []):
        for part in item.get("content", []):
            part["text"] = text
