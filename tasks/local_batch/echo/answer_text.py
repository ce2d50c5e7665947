"""The text an echo answers with: the question quoted, or a value that satisfies the schema that was asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
import orjson

from tasks.local_batch.echo.request_body import CHARS_A_TOKEN, estimated_tokens
from tasks.local_batch.echo.schema_sampler import SchemaSampler

QUOTE_CHARS: Final = 200


class Question(msgspec.Struct):
    """What a chat-like request comes down to.

    `text` is the last user message, `chars` the length of everything that was sent, `response_format` the JSON of
    what the answer must look like (`null` for free text), `max_tokens` the limit of the answer.
    """

    text: str = ""
    chars: int = 0
    response_format: bytes = b"null"
    max_tokens: int | None = None


def answer_text(question: Question) -> tuple[str, bytes]:
    """The answer's text and why it ended: `stop`, or `length` at the token limit."""
    sampler = None if question.response_format == b"null" else _sampler(question.response_format)
    if sampler is None:
        text = "Echo: " + question.text[:QUOTE_CHARS]
    else:
        text = orjson.dumps(sampler.sample(question.text)).decode()
    if question.max_tokens is not None and estimated_tokens(len(text)) > question.max_tokens:
        return text[: CHARS_A_TOKEN * question.max_tokens], b"length"
    return text, b"stop"


@lru_cache(maxsize=64)
def _sampler(response_format: bytes) -> SchemaSampler | None:
    """For `{"type":"json_schema",...}` of chat (nested) or responses (flat), or `{"type":"json_object"}`."""
    spec = orjson.loads(response_format)
    if not isinstance(spec, dict):
        return None
    if spec.get("type") == "json_object":
        return SchemaSampler({"type": "object", "properties": {"echo": {"type": "string"}}})
    schema = (spec.get("json_schema") or spec).get("schema")
    return SchemaSampler(schema) if isinstance(schema, dict) else None
