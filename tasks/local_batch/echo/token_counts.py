"""Count tokens as OpenAI does: the request by its tokenizer and format, schema and tools as JSON, and the answer."""

from __future__ import annotations

import orjson

from tasks.local_batch.protocol.lines import RequestLine
from tasks.stages.prompt.tokenizer import count_tokens, encoding_of
from tasks.stages.wire.openai.content import content_of_body


def prompt_tokens(row: RequestLine) -> int:
    """Tokens of a request, at least one. Pictures count where OpenAI publishes how."""
    body = orjson.loads(bytes(row.body))
    content = content_of_body(row.url, body)
    return content.count(encoding_of(str(body.get("model") or ""))) + content.media_tokens or 1


def answer_tokens(text: str, model: str | None) -> int:
    """Tokens of an answer."""
    return count_tokens(text, encoding_of(model or ""))


def first_tokens(text: str, most: int, model: str | None) -> str:
    """The longest beginning of an answer that has no more than so many tokens."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if answer_tokens(text[:middle], model) <= most:
            low = middle
        else:
            high = middle - 1
    return text[:low]
