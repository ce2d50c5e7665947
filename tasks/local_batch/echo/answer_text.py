"""The text an echo answers with: the question quoted, or a value that satisfies the schema that was asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
import orjson

from tasks.local_batch.echo.schema_sampler import SchemaSampler
from tasks.local_batch.echo.token_counts import answer_tokens, first_tokens

QUOTE_CHARS: Final = 200


class Question(msgspec.Struct):
    """What a chat-like request comes down to.

    `text` is the last user message, `response_format` the JSON of what the answer must look like (`null` for free text),
    `max_tokens` the limit of the answer, as `model` counts.
    """

    text: str = ""
    response_format: bytes = b"null"
    max_tokens: int | None = None
    model: str | None = None


def answer_text(question: Question) -> tuple[str, bytes]:
    """The answer's text and why it ended: `stop`, or `length` at the token limit."""
    sampler = None if question.response_format == b"null" else _sampler(question.response_format)
    if sampler is None:
        text = "Echo: " + question.text[:QUOTE_CHARS]
    else:
        text = orjson.dumps(sampler.sample(question.text)).decode()
    most, model = question.max_tokens, question.model
    if most is not None and answer_tokens(text, model) > most:
        return first_tokens(text, most, model), b"length"
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
