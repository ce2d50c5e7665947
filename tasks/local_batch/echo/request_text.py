"""The texts in a request, and how many tokens they may be."""

from __future__ import annotations

from typing import Any

import orjson


def text_of(content: Any) -> str:
    """The text of a string, or of the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))


def plain(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def tokens(chars: int) -> int:
    """Estimated tokens: four characters each, at least one."""
    return chars // 4 or 1
