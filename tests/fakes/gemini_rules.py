"""Google's validation of a line of a batch file, by its SDK's own types, which know no other fields."""

from __future__ import annotations

import base64
import itertools
from typing import Any

from google.genai import types
from pydantic import TypeAdapter, ValidationError

_GENERATE: dict[str, TypeAdapter[Any]] = {
    "contents": TypeAdapter(list[types.Content]),
    "systemInstruction": TypeAdapter(types.Content),
    "generationConfig": TypeAdapter(types.GenerationConfig),
    "tools": TypeAdapter(list[types.Tool]),
    "toolConfig": TypeAdapter(types.ToolConfig),
    "safetySettings": TypeAdapter(list[types.SafetySetting]),
    "cachedContent": TypeAdapter(str),
}
_EMBED: dict[str, TypeAdapter[Any]] = {
    "content": TypeAdapter(types.Content),
    "taskType": TypeAdapter(str),
    "title": TypeAdapter(str),
    "outputDimensionality": TypeAdapter(int),
    "autoTruncate": TypeAdapter(bool),
}


def refuse_row(line: dict[str, Any], *, embeds: bool) -> str | None:
    """Why Google would not take this line; None when it does."""
    if line.keys() != {"key", "request"}:
        return "a line is key and request"
    request = line["request"]
    return _fields(request, _EMBED if embeds else _GENERATE) or _turns(request) or _config(request)


def _fields(request: dict[str, Any], known: dict[str, TypeAdapter[Any]]) -> str | None:
    for name, value in request.items():
        if name not in known:
            return f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
        try:
            known[name].validate_python(value)
        except ValidationError as error:
            return f"Invalid value at '{name}': {error.errors()[0]['msg']}"
    return None


def _turns(request: dict[str, Any]) -> str | None:
    turns = [*request.get("contents", ()), *([request["content"]] if "content" in request else ())]
    if not turns or any(not turn.get("parts") for turn in turns):
        return "* GenerateContentRequest.contents: contents is not specified"
    if any(turn.get("role", "user") not in ("user", "model") for turn in turns):
        return "Please use a valid role: user, model."
    for part in itertools.chain.from_iterable(turn["parts"] for turn in turns):
        if "inlineData" in part:
            try:
                base64.b64decode(part["inlineData"]["data"], validate=True)
            except ValueError:
                return "Invalid value at 'inline_data.data' (TYPE_BYTES), Base64 decoding failed"
    return None


def _config(request: dict[str, Any]) -> str | None:
    config = request.get("generationConfig", {})
    for name, most in ("temperature", 2), ("topP", 1):
        if not 0 <= config.get(name, 0) <= most:
            return f"* GenerateContentRequest.generation_config.{name}: {name} must be in the range [0.0, {most}.0]"
    if "responseJsonSchema" in config and config.get("responseMimeType") != "application/json":
        return "response_json_schema is only supported with response_mime_type: application/json"
    if "responseJsonSchema" in config and "responseSchema" in config:
        return "response_schema must be omitted"
    if _has_siblings(config.get("responseJsonSchema")):
        return "response_json_schema: $ref takes nothing beside it but what starts with $"
    return None


def _has_siblings(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_has_siblings, node))
    if not isinstance(node, dict):
        return False
    beside = isinstance(node.get("$ref"), str) and any(not key.startswith("$") for key in node)
    return beside or any(map(_has_siblings, node.values()))
