"""Mark what all rows share for Anthropic's prompt cache: https://platform.claude.com/docs/en/build-with-claude/prompt-caching.

A request is cached from its beginning (tools, then system, then messages) to the mark. The parts of the answer's schema
come before all of that, and are the same for every row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from configs.errors import ConfigError
from configs.providers.registry import AnyProvider
from tasks.stages.prompt.render import Template
from tasks.stages.prompt.row_files import RowFiles
from tasks.stages.wire.prompt_cache import PromptCache

_MARK: Final = "cache_control"
_MARKABLE: Final = frozenset({"text", "image", "document", "tool_use", "tool_result", None})  # None: a tool

# The fewest tokens, by the page above; first match wins. A model that it does not name is asked: what is too short costs
# as much as without a mark.
_MINIMUM: Final = (
    (r"claude-(opus-4-[56]|haiku-4-5)\b", 4_096),
    (r"claude-opus-4-7\b|claude-3-haiku|claude-3-5-haiku", 2_048),
    (r"claude-3|claude-(opus|sonnet)-4\b|claude-sonnet-5\b", 1_024),
    (r"", 512),
)


def marked(body: dict[str, Any], ttl: str) -> dict[str, Any]:
    """The request's params with a mark on the last part that all rows share. ConfigError where they share nothing."""
    made = {**body, "messages": [dict(message) for message in body["messages"]]}
    found: tuple[list[Any], int] | None = None
    for holder, name in _holders(made):
        if isinstance(holder.get(name), str) and holder[name]:
            holder[name] = [{"type": "text", "text": holder[name]}]
        blocks: Any = holder.get(name)
        alike = _alike(blocks)
        if alike:
            holder[name] = blocks = [*blocks]
            found = next(((blocks, i) for i in reversed(range(alike)) if _can_hold(blocks[i])), found)
        if isinstance(blocks, Template) or (isinstance(blocks, list) and alike < len(blocks)):
            break
    if found is None:
        raise ConfigError(
            "prompt.cache: all rows share nothing before the first template hole; put what they share into prompt.system,"
            " or remove prompt.cache"
        )
    blocks, place = found
    if _MARK not in blocks[place]:
        blocks[place] = {**blocks[place], _MARK: _mark(ttl)}
    return _unlisted(made, blocks)


def _unlisted(made: dict[str, Any], marked_blocks: list[Any]) -> dict[str, Any]:
    """Texts that were made lists for nothing are texts again."""
    for holder, name in _holders(made):
        blocks = holder.get(name)
        if blocks is not marked_blocks and isinstance(blocks, list) and len(blocks) == 1:
            only = blocks[0]
            if isinstance(only, dict) and only.keys() == {"type", "text"} and only["type"] == "text":
                holder[name] = only["text"]
    return made


def _holders(body: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the blocks of a request are, in the order in which they are cached."""
    yield body, "tools"
    yield body, "system"
    for message in body["messages"]:
        yield message, "content"


def _alike(blocks: Any) -> int:
    """How many of the blocks are the same for every row, from the first on."""
    if not isinstance(blocks, list):
        return 0
    return next((i for i, block in enumerate(blocks) if _has_holes(block)), len(blocks))


def _has_holes(node: Any) -> bool:
    """Whether a part of a request tree differs from row to row."""
    if isinstance(node, dict):
        return any(map(_has_holes, node.values()))
    return isinstance(node, Template | RowFiles) or (isinstance(node, list) and any(map(_has_holes, node)))


def _can_hold(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _MARKABLE:
        return isinstance(block, dict) and "input_schema" in block
    return bool(block.get("text", True))


def _shared_texts(request: dict[str, Any]) -> list[str]:
    """The texts up to the mark; tools as JSON."""
    texts: list[str] = []
    for holder, name in _holders(request["params"]):
        blocks = holder.get(name)
        if isinstance(blocks, str):
            texts.append(blocks)
        for block in blocks if isinstance(blocks, list) else ():
            text = block.get("text") if isinstance(block, dict) else None
            texts.append(text if isinstance(text, str) else "" if _has_holes(block) else _json(block))
            if isinstance(block, dict) and _MARK in block:
                return texts
    return texts


def _json(block: Any) -> str:
    return orjson.dumps(block).decode()


def _mark(ttl: str) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": ttl}


def _mark_in_line(provider: AnyProvider) -> bytes:
    return b"," + orjson.dumps({_MARK: _mark(getattr(provider, "cache_ttl", "1h"))})[1:-1]


def _minimum(model: str) -> int:
    return next(tokens for pattern, tokens in _MINIMUM if re.match(pattern, model))


CACHE: Final = PromptCache(_shared_texts, _minimum, _mark_in_line)
