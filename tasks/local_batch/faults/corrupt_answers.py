"""Replace single answers by wrong ones, for tests: HTTP errors, refusals, cut or unreadable text, awkward characters."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
import orjson

from tasks.local_batch.faults.unpaid import UNPAID
from tasks.local_batch.protocol.lines import Answer, http_error

# Characters that break readers which split JSONL as text instead of bytes, or decode it carelessly: line separators
# that only Unicode knows, a lone CR, NUL, an emoji, Japanese. AWKWARD is the text; AWKWARD_JSON is how it is sent: raw
# where JSON allows it, escaped where it must be or where services are known to do it.
AWKWARD: Final = "ls\u2028ps\u2029nel\u0085cr\rnul\x00 \U0001f4ee\U0001f319 日本語 end"
AWKWARD_JSON: Final = (
    "ls\u2028ps\u2029nel\u0085cr\\rnul\\u0000 \U0001f4ee\\ud83c\\udf19 \\u65e5\\u672c\\u8a9e end".encode()
)
_PLACEHOLDER: Final = "@@awkward@@"
# By HTTP status: type, code and message as OpenAI answers them in real time.
_ERRORS: Final = {
    400: (
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is exceeded.",
    ),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", None, "The server had an error while processing your request."),
}

Corruption = Callable[[Answer, tuple[str, ...]], Answer]
"""A correct answer and the fault's arguments -> the wrong answer."""


def is_selected(custom_id: str, selector: tuple[str, ...]) -> bool:
    """Whether a fault applies to a row: to all rows, a share of them, or ids joined by `|`."""
    if not selector or not selector[0]:
        return True
    try:
        share = float(selector[0])
    except ValueError:
        return custom_id in ":".join(selector).split("|")  # an id may hold the colon that parts arguments
    # By a hash of the id: the same rows in every run and every attempt, whatever the order they are answered in.
    return zlib.crc32(custom_id.encode()) % 10_000 < share * 10_000


def row_error(answer: Answer, args: tuple[str, ...]) -> Answer:
    """An HTTP error instead of the reply."""
    status = int(args[0])
    kind, code, message = _ERRORS.get(status, ("invalid_request_error", None, f"Told to fail with {status}."))
    return http_error(answer.custom_id, status, message, kind=kind, code=code)


def unpaid(answer: Answer, _: tuple[str, ...]) -> Answer:
    """An HTTP error, since the account cannot pay."""
    status, kind, code, message = UNPAID["insufficient_quota"]
    return http_error(answer.custom_id, status, message, kind=kind, code=code)


def refusal(answer: Answer, _: tuple[str, ...]) -> Answer:
    """The model declines with HTTP 200: `content` null, `refusal` set."""

    def edit(body: dict[str, Any]) -> None:
        for choice in body.get("choices", []):
            choice["message"].update(content=None, refusal="I can't help with that.")
        for item in body.get("output", []):
            item["content"] = [{"type": "refusal", "refusal": "I can't help with that."}]

    return _edited(answer, edit)


def length(answer: Answer, _: tuple[str, ...]) -> Answer:
    """Half the text, stopped by length; a Responses reply then has no message, as it may at OpenAI."""

    def edit(body: dict[str, Any]) -> None:
        for choice in body.get("choices", []):
            holder, key = (choice["message"], "content") if "message" in choice else (choice, "text")
            holder[key] = holder[key][: len(holder[key]) // 2]
            choice["finish_reason"] = "length"
        if body.get("object") == "response":
            reason = {"reason": "max_output_tokens"}
            reasoning = {"id": "rs_1", "type": "reasoning", "summary": []}
            body.update(status="incomplete", completed_at=None, incomplete_details=reason, output=[reasoning])

    return _edited(answer, edit)


def content_filter(answer: Answer, _: tuple[str, ...]) -> Answer:
    """No text, stopped by the content filter, with HTTP 200."""

    def edit(body: dict[str, Any]) -> None:
        for choice in body.get("choices", []):
            choice["message"]["content"] = ""
            choice["finish_reason"] = "content_filter"
        if body.get("object") == "response":
            reason = {"reason": "content_filter"}
            body.update(status="incomplete", completed_at=None, incomplete_details=reason, output=[])

    return _edited(answer, edit)


def invalid_json(answer: Answer, _: tuple[str, ...]) -> Answer:
    """Text that is no JSON, in a reply that says it is complete."""
    return _edited(answer, lambda body: _set_text(body, '{"label": "unfinished'))


def empty(answer: Answer, _: tuple[str, ...]) -> Answer:
    """No text, in a reply that says it is complete: the model has reasoned and written nothing."""
    return _edited(answer, lambda body: _change_text(body, lambda _: ""))


def fenced(answer: Answer, _: tuple[str, ...]) -> Answer:
    """The text as models write it that no schema binds."""
    return _edited(
        answer, lambda body: _change_text(body, lambda text: f"<think>Hm.</think>\n```json\n{text}\n```")
    )


def raw_u2028(answer: Answer, _: tuple[str, ...]) -> Answer:
    """Text with every awkward character, put into the bytes by hand: an encoder would choose its own escapes."""
    changed = _edited(answer, lambda body: _set_text(body, _PLACEHOLDER))
    return msgspec.structs.replace(changed, body=changed.body.replace(_PLACEHOLDER.encode(), AWKWARD_JSON))


def body_as_string(answer: Answer, _: tuple[str, ...]) -> Answer:
    """The reply's JSON as a JSON string, as some services write it."""
    return msgspec.structs.replace(answer, body=orjson.dumps(answer.body.decode()))


CORRUPTIONS: Final[dict[str, Corruption]] = {
    "row_error": row_error,
    "unpaid": unpaid,
    "refusal": refusal,
    "length": length,
    "content_filter": content_filter,
    "invalid_json": invalid_json,
    "empty": empty,
    "fenced": fenced,
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
    _change_text(body, lambda _: text)


def _change_text(body: dict[str, Any], change: Callable[[str], str]) -> None:
    for choice in body.get("choices", []):
        holder, key = (choice["message"], "content") if "message" in choice else (choice, "text")
        holder[key] = change(holder[key])
    for item in body.get("output", []):
        for part in item.get("content", []):
            part["text"] = change(part["text"])
