"""JSON values as services write them, read forgivingly: what every dialect's parser needs."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

MOST = 10**12
"""The largest count that can be meant. Sums over the rows of any run still fit into 64 bits."""

_TEXT_IN_ERROR = 500
# What is nested deeper is read as its JSON text: readers and writers of JSON give up at 254 to 1,024 levels.
_MAX_DEPTH = 200
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)


def loads(raw: bytes) -> Any:
    """The value of a JSON text, however deep. ValueError or RecursionError where it is none."""
    if raw.count(b"[") + raw.count(b"{") > _MAX_DEPTH:
        raw = _flattened(raw)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        # the standard library also takes NaN, big numbers and half a surrogate pair (an answer cut inside an emoji)
        return _without_surrogates(json.loads(raw.decode("utf-8-sig")))


def integer(value: Any) -> int | None:
    """A count, also one written as text or as 3.0; None for anything else, and for more than `MOST`."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 19:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
        return value
    return None


def string(value: Any) -> str | None:
    """The value if it is text."""
    return value if isinstance(value, str) else None


def text_of(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def json_text(value: Any) -> str:
    """Compact JSON, unescaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def one_line(text: str) -> str:
    """Text without line breaks, short enough for an error message."""
    return " ".join(text.split())[:_TEXT_IN_ERROR]


def _flattened(raw: bytes) -> bytes:
    """The same with whatever lies deeper than `_MAX_DEPTH` as a text; unchanged where nothing does."""
    parts: list[bytes] = []
    depth = done = start = 0
    for found in _STRING_OR_BRACKET.finditer(raw):
        token = found[0]
        if token in b"[{":
            depth += 1
            start = found.start() if depth == _MAX_DEPTH + 1 else start
        elif token in b"]}":
            if depth == _MAX_DEPTH + 1:
                inner = raw[start : found.end()].decode("utf-8", "replace")
                parts += [raw[done:start], json.dumps(inner).encode()]
                done = found.end()
            depth -= 1
    return b"".join((*parts, raw[done:])) if parts else raw


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value
