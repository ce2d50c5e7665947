"""What a model reads of a request in Gemini's line format. Field names may be in either case, as Google takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.stages.prompt.content import PromptContent
from tasks.stages.wire.gemini.picture_tokens import picture_tokens
from tasks.stages.wire.picture_size import picture_size

_KINDS = {"image": "pictures", "audio": "sounds", "video": "videos"}


def content_of(line: Mapping[str, Any], model: str) -> PromptContent:
    """What `model`, which no line names, reads of a request line."""
    request = line.get("request") or {}
    content = PromptContent()
    config = _field(request, "generationConfig", "generation_config") or {}
    # Another resolution has another number of tokens.
    ruled = model if not _field(config, "mediaResolution", "media_resolution") else ""
    told = _field(request, "systemInstruction", "system_instruction") or {}
    for turn in (told, *(request.get("contents") or ()), request.get("content") or {}):
        for part in turn.get("parts") or ():
            _part(content, part, ruled)
    content.specify(request.get("tools"))
    content.specify(config.get("responseJsonSchema") or config.get("responseSchema"))
    return content


def _field(node: Mapping[str, Any], *names: str) -> Any:
    return next((node[name] for name in names if name in node), None)


def _part(content: PromptContent, part: Mapping[str, Any], model: str) -> None:
    inline, file = _field(part, "inlineData", "inline_data"), _field(part, "fileData", "file_data")
    if isinstance(part.get("text"), str):
        content.texts.append(part["text"])
    elif isinstance(inline, dict):
        data, kind = inline.get("data"), _kind(inline)
        size = picture_size(data[: 1 << 20]) if isinstance(data, str) and kind == "pictures" else None
        content.show(data, picture_tokens(model, size), kind)
    elif isinstance(file, dict):
        content.show(_field(file, "fileUri", "file_uri"), None, _kind(file))
    else:
        content.specify(part)


def _kind(media: Mapping[str, Any]) -> str:
    named = str(_field(media, "mimeType", "mime_type") or "").partition("/")[0]
    return _KINDS.get(named, "documents")
