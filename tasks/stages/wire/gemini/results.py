"""Result lines of Gemini's batch files: `{"key", "response"}` or `{"key", "error"}`, into outcomes.

Shapes: https://ai.google.dev/api/generate-content and https://ai.google.dev/api/embeddings. Field names are read in
camelCase and in snake_case: Google's JSON takes both, and services between write the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tasks.stages.wire.dialect import LineByLine
from tasks.stages.wire.json_values import integer, json_text, loads, one_line, string
from tasks.stages.wire.openai.other_bodies import decode_vector
from tasks.stages.wire.outcome import (
    UNPARSABLE,
    ErrorClass,
    Outcome,
    RowStatus,
    classify,
    failure_status,
)

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

_Json = Mapping[str, Any]


def parser(endpoint: str) -> LineByLine:
    """The parser of what the job's endpoint means here: vectors, or generated content."""
    return LineByLine(partial(read_line, read=_vector if endpoint == "/v1/embeddings" else _content))


def read_line(raw: bytes, read: Any) -> Outcome:
    """The outcome of one line. Never raises; an unreadable line is UNPARSABLE."""
    try:
        line = loads(raw)
    except (ValueError, RecursionError):
        return UNPARSABLE
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
    error_class = _CLASS_OF_CODE.get(code) or classify(code, http_status)
    message = string(error.get("message"))
    return Outcome(key, failure_status(code, error_class), code, message and one_line(message), error_class)


def _content(key: str, response: _Json) -> Outcome:
    """An answer of generateContent: the first candidate."""
    model = string(_either(response, "modelVersion", "model_version"))
    usage = _usage(_object(response, "usageMetadata", "usage_metadata"))
    candidates = response.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    if not isinstance(first, dict):
        blocked = _object(response, "promptFeedback", "prompt_feedback")
        return _no_candidate(key, blocked, model, usage)
    reason = string(_either(first, "finishReason", "finish_reason"))
    text = _text(first.get("content"))
    status, code, message, error_class = _verdict(
        reason, text, string(_either(first, "finishMessage", "finish_message"))
    )
    return Outcome(key, status, code, message, error_class, reason, model, text, *usage)


_Verdict = tuple[RowStatus, str | None, str | None, ErrorClass | None]


def _verdict(reason: str | None, text: str | None, said: str | None) -> _Verdict:
    if reason in _CUT_OFF:
        return RowStatus.TRUNCATED, None, None, None
    if reason in _REFUSED:
        return RowStatus.REFUSED, reason, one_line(said or "the model stopped for this reason"), None
    if reason not in _ANSWERED:
        # OTHER, MALFORMED_FUNCTION_CALL and their like: the model went astray, which another attempt may not.
        message = one_line(said or "the model did not finish its answer")
        return RowStatus.FAILED, reason, message, ErrorClass.TRANSIENT
    if not text:
        return RowStatus.FAILED, "empty_response", "no text in the response", ErrorClass.TRANSIENT
    return RowStatus.SUCCEEDED, None, None, None


def _no_candidate(key: str, blocked: _Json, model: str | None, usage: _FourCounts) -> Outcome:
    reason = string(_either(blocked, "blockReason", "block_reason"))
    if reason is None:
        code, message = "empty_response", "no candidates in the response"
        return Outcome(key, RowStatus.FAILED, code, message, ErrorClass.TRANSIENT, None, model, None, *usage)
    said = string(_either(blocked, "blockReasonMessage", "block_reason_message"))
    message = one_line(said or "the prompt was blocked")
    return Outcome(key, RowStatus.REFUSED, reason, message, None, None, model, None, *usage)


def _text(content: Any) -> str | None:
    """The candidate's text without its thoughts; the calls as JSON where it only calls functions."""
    parts = content.get("parts") if isinstance(content, dict) else None
    said = [part for part in parts or () if isinstance(part, dict) and not part.get("thought")]
    texts = [part["text"] for part in said if isinstance(part.get("text"), str)]
    text = "".join(texts) if texts else None
    calls = [call for part in said if (call := _either(part, "functionCall", "function_call"))]
    return text or (json_text(calls) if calls else text)


def _vector(key: str, response: _Json) -> Outcome:
    """An answer of embedContent."""
    embedding = response.get("embedding")
    vector = decode_vector(embedding.get("values")) if isinstance(embedding, dict) else None
    usage = _usage(_object(response, "usageMetadata", "usage_metadata"))
    tokens = integer(_either(response, "tokenCount", "token_count"))
    counts = (usage[0] if tokens is None else tokens, 0, None, None)
    if not vector:
        message = "no embedding in the response"
        return Outcome(key, RowStatus.FAILED, "empty_response", message, ErrorClass.TRANSIENT)
    return Outcome(key, RowStatus.SUCCEEDED, None, None, None, None, None, vector, *counts)


_FourCounts = tuple[int | None, int | None, int | None, int | None]


def _usage(usage: _Json) -> _FourCounts:
    """(input, output, cached, reasoning) tokens as they are billed: results of tools are read, thoughts written."""

    def count(camel: str, snake: str) -> int | None:
        return integer(_either(usage, camel, snake))

    prompt = count("promptTokenCount", "prompt_token_count")
    tools = count("toolUsePromptTokenCount", "tool_use_prompt_token_count")
    said = count("candidatesTokenCount", "candidates_token_count")
    thoughts = count("thoughtsTokenCount", "thoughts_token_count")
    cached = count("cachedContentTokenCount", "cached_content_token_count")
    if prompt is None:
        return None, None, None, None
    # A count that is 0 is left out.
    return prompt + (tools or 0), (said or 0) + (thoughts or 0), cached, thoughts


def _either(node: _Json, camel: str, snake: str) -> Any:
    value = node.get(camel)
    return node.get(snake) if value is None else value


def _object(node: _Json, camel: str, snake: str) -> _Json:
    value = _either(node, camel, snake)
    return value if isinstance(value, dict) else {}
