"""What an echo reads of a request body: its fields, and the texts in it."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson


class Message(msgspec.Struct):
    """A chat message."""

    role: str = "user"
    content: Any = None


class RequestBody(msgspec.Struct):
    """The fields of any endpoint's body that an echo's answer depends on; all others are skipped unread.

    The schemas stay bytes: most rows of a batch carry the same one, so it is parsed once and looked up by its bytes.
    """

    model: str | None = None
    messages: list[Message] = msgspec.field(default_factory=list)
    instructions: str | None = None
    input: Any = None
    prompt: Any = None
    n: int | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    response_format: msgspec.Raw = msgspec.Raw(b"null")
    text: msgspec.Raw = msgspec.Raw(b"null")
    dimensions: int | None = None
    encoding_format: str | None = None


decode_body = msgspec.json.Decoder(RequestBody).decode


def text_of(content: Any) -> str:
    """The text of a string, or of the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON: a prompt may also be a list of token numbers."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
