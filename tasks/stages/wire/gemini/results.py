"""Result lines of Gemini's batch files: `{"key", "response"}` or `{"key", "error"}`, into outcomes.

Shapes: https://ai.google.dev/api/generate-content and https://ai.google.dev/api/embeddings. Field names are read in
camelCase and in snake_case: Google's JSON takes both, and services between write the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import groupby
from typing import Any

from msgspec.structs import asdict, replace

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.dialect import LineByLine
from tasks.stages.wire.empty_answer import empty_answer, says_nothing
from tasks.stages.wire.json_values import integer, json_text, loads, one_line, string
from tasks.stages.wire.openai.other_bodies import decode_vector
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

# google.rpc.Code by number: a row's error names its number only.
RPC_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip

_CLASS_OF_CODE = {
    "CANCELLED": ErrorClass.CANCELLED,
    "DEADLINE_EXCEEDED": ErrorClass.TRANSIENT,  # of the row: a batch that expires has no lines
    "RESOURCE_EXHAUSTED": ErrorClass.CAPACITY,
    "UNKNOWN": ErrorClass.TRANSIENT,
    "ABORTED": ErrorClass.TRANSIENT,
    "INTERNAL": ErrorClass.TRANSIENT,
    "UNAVAILABLE": ErrorClass.TRANSIENT,
    "DATA_LOSS": ErrorClass.TRANSIENT,
} | dict.fromkeys(
    (
        "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "FAILED_PRECONDITION",
        "OUT_OF_RANGE", "UNIMPLEMENTED", "UNAUTHENTICATED",
    ),
    ErrorClass.REQUEST,
)  # fmt: skip

_ANSWERED = {None, "", "STOP", "FINISH_REASON_UNSPECIFIED"}
_CUT_OFF = {"MAX_TOKENS", "CONTINUATION"}
_REFUSED = {
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "PUP_LIMITED_DISABLED", "MODEL_ARMOR",
}  # fmt: skip

_NO_CONTENT = {"thought", "thoughtSignature", "thought_signature"}

_Json = Mapping[str, Any]


def parser(endpoint: str) -> LineByLine:
    """The parser of what the job's endpoint means here: vectors, or generated content."""
    return LineByLine(partial(read_line, read=_vector if endpoint == "/v1/embeddings" else _content))


def read_line(raw: bytes, read: Any) -> Outcome:
    """The outcome of one line. Never raises; an unreadable line is UNPARSABLE."""
    try:
        line = loads(raw)
    except (ValueError, RecursionError):
        return unreadable(raw)
    key = _key(line) if isinstance(line, dict) else None
    if key is None:
        return UNPARSABLE
    response = line.get("response")
    if not isinstance(response, dict):
        error = line.get("error") or line.get("status")
        return _failed(key, error if error else {"message": "the line holds neither a response nor an error"})
    if isinstance(response.get("error"), dict):
        return _failed(key, response["error"])
    outcome: Outcome = read(key, response)
    return outcome


def code_name(number: int | None) -> str | None:
    """The name of a google.rpc.Code; gateways put an HTTP status there."""
    if number is None:
        return None
    return RPC_CODES[number] if number < len(RPC_CODES) else f"http_{number}"


def reason_of(error: _Json) -> str | None:
    """The reason in an error's google.rpc.ErrorInfo, such as BILLING_DISABLED."""
    details = error.get("details")
    reasons = (
        string(entry.get("reason"))
        for entry in (details if isinstance(details, list) else ())
        if isinstance(entry, dict)
    )
    return next((reason for reason in reasons if reason), None)


def _key(line: _Json) -> str | None:
    """The row's id; a file made of inline responses has it in `metadata`."""
    metadata = line.get("metadata")
    key = line.get("key", metadata.get("key") if isinstance(metadata, dict) else None)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    return string(key)


def _failed(key: str, error: Any) -> Outcome:
    error = error if isinstance(error, dict) else {"message": str(error)}
    number = integer(error.get("code"))
    code = string(error.get("status")) or code_name(number) or "empty_response"
    http_status = number if number is not None and number >= 300 else None
    message = string(error.get("message"))
    error_class = classify(reason_of(error) or code, http_status, message)
    if error_class is not ErrorClass.BILLING:
        error_class = _CLASS_OF_CODE.get(code, error_class)
    return Outcome(
        custom_id=key,
        status=failure_status(code, error_class),
        error_code=code,
        error_message=message and one_line(message),
        error_class=error_class,
    )


def _content(key: str, response: _Json) -> Outcome:
    """An answer of generateContent: the first candidate."""
    model = string(either(response, "modelVersion", "model_version"))
    usage = _usage(_object(response, "usageMetadata", "usage_metadata"))
    candidates = response.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    if not isinstance(first, dict):
        reading = _no_candidate(_object(response, "promptFeedback", "prompt_feedback"))
    else:
        reading = _candidate(first)
    return Outcome(custom_id=key, model=model, **asdict(reading), **usage)


def _candidate(candidate: _Json) -> Reading:
    reason = string(either(candidate, "finishReason", "finish_reason"))
    explanation = string(either(candidate, "finishMessage", "finish_message"))
    parts = parts_of(candidate.get("content"))
    thoughts = any(part.get("thought") for part in parts)
    reading = _finished(reason, explanation, _text(parts), reasoned=thoughts)
    return replace(reading, finish_reason=reason)


def _finished(reason: str | None, explanation: str | None, text: str | None, *, reasoned: bool) -> Reading:
    if reason in _CUT_OFF:
        return Reading(status=RowStatus.TRUNCATED, answer=text)
    if reason in _REFUSED:
        return Reading(
            status=RowStatus.REFUSED,
            answer=text,
            error_code=reason,
            error_message=one_line(explanation or "the model stopped for this reason"),
        )
    if reason not in _ANSWERED:
        # OTHER, MALFORMED_FUNCTION_CALL and their like: the model went astray, which another attempt may not.
        return Reading(
            status=RowStatus.FAILED,
            answer=text,
            error_code=reason,
            error_message=one_line(explanation or "the model did not finish its answer"),
            error_class=ErrorClass.TRANSIENT,
        )
    if says_nothing(text):
        return empty_answer("text", answer=text, reasoned=reasoned)
    return Reading(status=RowStatus.SUCCEEDED, answer=text)


def _no_candidate(blocked: _Json) -> Reading:
    reason = string(either(blocked, "blockReason", "block_reason"))
    if reason is None:
        return empty_answer("candidates")
    explanation = string(either(blocked, "blockReasonMessage", "block_reason_message"))
    return Reading(
        status=RowStatus.REFUSED,
        error_code=reason,
        error_message=one_line(explanation or "the prompt was blocked"),
    )


def parts_of(content: Any) -> list[dict[str, Any]]:
    """The parts of a candidate's content."""
    parts = content.get("parts") if isinstance(content, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _text(parts: list[dict[str, Any]]) -> str | None:
    """The texts after whatever the model ran by itself, without its thoughts; calls that wait for the caller are the
    answer, as JSON, with the texts beside them. Without any text, whatever else there is, such as a picture."""
    answer = [part for part in parts if not part.get("thought")]
    calls = [call for part in answer if (call := either(part, "functionCall", "function_call"))]
    said = [part for part in answer if isinstance(part.get("text"), str) and not says_nothing(part["text"])]
    if calls:
        return json_text(answer if said else calls)
    last: str | None = None
    for is_text, run in groupby(answer, key=lambda part: isinstance(part.get("text"), str)):
        text = "".join(part["text"] for part in run) if is_text else ""
        last = text if is_text and (last is None or text) else last
    others = [part for part in answer if "text" not in part and len(part.keys() - _NO_CONTENT)]
    return json_text(others) if others and not said else last


def _vector(key: str, response: _Json) -> Outcome:
    """An answer of embedContent."""
    embedding = response.get("embedding")
    vector = decode_vector(embedding.get("values")) if isinstance(embedding, dict) else None
    if not vector:
        return Outcome(custom_id=key, **asdict(empty_answer("embedding")))
    usage = _usage(_object(response, "usageMetadata", "usage_metadata"))
    tokens = integer(either(response, "tokenCount", "token_count"))
    return Outcome(
        custom_id=key,
        status=RowStatus.SUCCEEDED,
        answer=vector,
        input_tokens=usage.get("input_tokens") if tokens is None else tokens,
        output_tokens=0,
    )


def _usage(usage: _Json) -> TokenCounts:
    """Tokens as they are billed: results of tools are read, thoughts written."""

    def count(camel: str, snake: str) -> int | None:
        return integer(either(usage, camel, snake))

    prompt = count("promptTokenCount", "prompt_token_count")
    tools = count("toolUsePromptTokenCount", "tool_use_prompt_token_count")
    written = count("candidatesTokenCount", "candidates_token_count")
    thoughts = count("thoughtsTokenCount", "thoughts_token_count")
    if prompt is None:
        return {}
    return {  # a count that is 0 is left out
        "input_tokens": prompt + (tools or 0),
        "output_tokens": (written or 0) + (thoughts or 0),
        "cached_tokens": count("cachedContentTokenCount", "cached_content_token_count"),
        "reasoning_tokens": thoughts,
    }


def either(node: _Json, camel: str, snake: str) -> Any:
    """A field under either of its names."""
    value = node.get(camel)
    return node.get(snake) if value is None else value


def _object(node: _Json, camel: str, snake: str) -> _Json:
    value = either(node, camel, snake)
    return value if isinstance(value, dict) else {}
