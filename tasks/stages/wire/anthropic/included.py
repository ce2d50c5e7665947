"""The columns by choice in Anthropic's messages: https://platform.claude.com/docs/en/api/messages.

Citations: https://platform.claude.com/docs/en/build-with-claude/citations. There are no logprobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.stages.wire.included import (
    BodyReaders,
    citation,
    joined,
    mapping,
    objects,
    raw_member,
    some,
    tool_call,
)
from tasks.stages.wire.json_values import string

_Body = Mapping[str, Any]
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})


def included(endpoint: str) -> BodyReaders:  # noqa: ARG001 - one shape for all
    """What there is in a message, whatever the job calls its endpoint."""
    return _MESSAGE


def _raw(line: bytes) -> bytes | None:
    return raw_member(line, "result", "message") or raw_member(line, "result", "error")


def _body(line: _Body) -> Any:
    return mapping(line.get("result")).get("message")


def _calls(body: _Body) -> Any:
    return some(
        [
            tool_call(block.get("id"), block.get("name"), block.get("input"))
            for block in objects(body.get("content"))
            if block.get("type") == "tool_use"
        ]
    )


def _reasoning(body: _Body) -> Any:
    return joined([block.get("thinking") for block in objects(body.get("content"))], "\n\n")


def _citations(body: _Body) -> Any:
    """Those of the texts that are the answer: the last ones without a tool between them. A block is what its citations are for."""
    blocks = [block for block in objects(body.get("content")) if string(block.get("type")) not in _THOUGHTS]
    is_json = any(block.get("type") == "tool_use" for block in blocks)  # the answer then is no text
    found: list[Any] = []
    begin = 0
    last = None
    for block in blocks:
        text = string(block.get("text")) if block.get("type") == "text" else None
        if text is not None and last not in (None, "text"):
            found, begin = [], 0
        last = block.get("type")
        if text is None:
            continue
        place = {} if is_json else {"start": begin, "end": begin + len(text)}
        found += [
            citation(each, text=each.get("cited_text"), **place) for each in objects(block.get("citations"))
        ]
        begin += len(text)
    return some(found)


_MESSAGE = BodyReaders(
    _raw,
    _body,
    {"tool_calls": _calls, "reasoning": _reasoning, "logprobs": lambda _: None, "citations": _citations},
)
