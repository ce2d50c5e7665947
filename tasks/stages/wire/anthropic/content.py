"""What a model reads of a request of Message Batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tasks.stages.prompt.content import PromptContent
from tasks.stages.wire.anthropic.picture_tokens import picture_tokens
from tasks.stages.wire.picture_size import picture_size

# About what a message's frame is; Anthropic does not publish it.
_MESSAGE, _REPLY = 4, 3
_SPECIFIED: Final = frozenset({"tool_use", "tool_result", "search_result", "thinking", "redacted_thinking"})


def content_of(line: Mapping[str, Any]) -> PromptContent:
    """What the model reads of a request line."""
    body = line.get("params") or {}
    model = str(body.get("model") or "")
    content = PromptContent(tokens=_REPLY)
    _blocks(content, body.get("system"), model)
    for message in body.get("messages") or ():
        content.tokens += _MESSAGE
        _blocks(content, message.get("content"), model)
    content.specify(body.get("tools"))
    asked = (body.get("output_config") or {}).get("format") or {}
    content.specify(asked.get("schema"))
    return content


def _blocks(content: PromptContent, blocks: Any, model: str) -> None:
    if isinstance(blocks, str):
        content.texts.append(blocks)
        return
    for block in blocks if isinstance(blocks, list) else ():
        match block.get("type"):
            case "text":
                content.texts.append(str(block.get("text") or ""))
            case "image" | "document":
                _media(content, block, model)
            case kind if kind in _SPECIFIED:
                content.specify(block)


def _media(content: PromptContent, block: Mapping[str, Any], model: str) -> None:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    data = source.get("data") or source.get("url")
    if block["type"] == "image":
        encoded = source.get("data")
        size = picture_size(encoded[: 1 << 20]) if isinstance(encoded, str) else None
        content.show(data, picture_tokens(model, size))
    elif source.get("type") == "text" and isinstance(data, str):
        content.texts.append(data)
    else:
        content.show(data, None, "documents")
