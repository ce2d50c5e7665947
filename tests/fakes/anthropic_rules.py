"""Anthropic's validation: of a batch when it is created, and of each request once its turn comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_REQUESTS = 100_000
MAX_BYTES = 256_000_000
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PARAMS = frozenset(
    [
        "model",
        "max_tokens",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "metadata",
        "stop_sequences",
        "service_tier",
        "cache_control",
        "container",
        "inference_geo",
        "stream",
        "speed",
        "temperature",
        "top_p",
        "top_k",
    ]
)
_BLOCKS = {
    "text": {"text"},
    "image": {"source"},
    "document": {"source"},
    "tool_use": {"id", "name", "input"},
    "tool_result": {"tool_use_id"},
}
_SCHEMA_KEYS = frozenset(
    [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "allOf",
        "$ref",
        "$defs",
        "title",
        "description",
        "format",
        "minItems",
        "default",
    ]
)


def refuse_batch(body: Any) -> str | None:
    """Why the batch is not created at all; None when it is. Requests themselves are only looked at later."""
    if not isinstance(body, dict) or not isinstance(body.get("requests"), list):
        return "requests: Field required"
    if set(body) != {"requests"}:
        return f"{sorted(set(body) - {'requests'})[0]}: Extra inputs are not permitted"
    requests = body["requests"]
    if not 1 <= len(requests) <= MAX_REQUESTS:
        return f"requests: List should have between 1 and {MAX_REQUESTS} items"
    seen: set[str] = set()
    for number, request in enumerate(requests):
        if not isinstance(request, dict) or set(request) != {"custom_id", "params"}:
            return f"requests.{number}: needs custom_id and params, and nothing else"
        custom_id = request["custom_id"]
        if not isinstance(custom_id, str) or not _ID.fullmatch(custom_id):
            return f"requests.{number}.custom_id: String should match pattern '^{_ID.pattern}$'"
        if custom_id in seen:
            return f"requests.{number}.custom_id: Duplicate custom_id {custom_id}"
        seen.add(custom_id)
        if not isinstance(request["params"], dict):
            return f"requests.{number}.params: Input should be an object"
    return None


def refuse_row(params: dict[str, Any], version: str) -> str | None:
    """Why a request comes out as errored; None when the model is asked."""
    return next(_problems(params, version), None)


def _problems(params: dict[str, Any], version: str) -> Iterator[str]:
    for name in ("model", "max_tokens", "messages"):
        if name not in params:
            yield f"{name}: Field required"
    for name in sorted(set(params) - _PARAMS):
        yield f"{name}: Extra inputs are not permitted"
    limit = params.get("max_tokens")
    if type(limit) is not int or limit < 1:
        yield "max_tokens: Input should be an integer of at least 1"
    if params.get("stream"):
        yield "stream: not supported in batches"
    if params.get("speed") == "fast":
        yield "speed: fast is not supported in batches"
    if version >= "2026-10-21":
        for name in ("temperature", "top_p", "top_k"):
            if name in params:
                yield f"{name}: not supported since anthropic-version 2026-10-21"
    for name in ("temperature", "top_p"):
        if not 0 <= params.get(name, 0) <= 1:
            yield f"{name}: range: 0..1"
    if params.get("thinking", {}).get("type") == "enabled" and (
        params.get("temperature", 1) != 1 or "top_k" in params
    ):
        yield "temperature may only be set to 1, and top_k not at all, when thinking is enabled"
    if (
        "temperature" in params
        and "top_p" in params
        and str(params.get("model")).startswith("claude-haiku-4-5")
    ):
        yield "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    if any(not stop.strip() for stop in params.get("stop_sequences", [])):
        yield "stop_sequences: each stop sequence must contain non-whitespace"
    if params.get("thinking", {}).get("type") == "enabled" and params.get("tool_choice", {}).get("type") in (
        "any",
        "tool",
    ):
        yield "Thinking may not be enabled when tool_choice forces tool use."
    if set(params.get("metadata", {})) - {"user_id"}:
        yield "metadata: Extra inputs are not permitted"
    if params.get("service_tier", "auto") not in ("auto", "standard_only"):
        yield "service_tier: Input should be 'auto' or 'standard_only'"
    if not isinstance(params.get("stop_sequences", []), list):
        yield "stop_sequences: Input should be a list"
    thinking = params.get("thinking", {})
    if thinking.get("type") == "enabled" and not 1024 <= thinking.get("budget_tokens", 0) < limit:
        yield "thinking.budget_tokens: must be at least 1024 and less than max_tokens"
    yield from _system(params.get("system", "x"))
    yield from _messages(params.get("messages"))
    for tool in params.get("tools", []):
        if "type" not in tool and not {"name", "input_schema"} <= set(tool):
            yield "tools: name and input_schema are required"
    shape = params.get("output_config", {}).get("format")
    if shape is not None:
        if set(shape) != {"type", "schema"} or shape["type"] != "json_schema":
            yield "output_config.format: needs type json_schema and schema"
        yield from _schema(shape.get("schema"), "output_config.format.schema")


def _system(system: Any) -> Iterator[str]:
    if isinstance(system, str):
        return
    for block in system:
        if block.get("type") != "text":
            yield "system: only text blocks are supported"
        yield from _block(block, "system")


def _messages(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        yield "messages: at least one message is required"
        return
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        if set(message) != {"role", "content"} or message["role"] not in ("user", "assistant"):
            yield f"{where}: needs role user or assistant, and content"
        elif isinstance(message["content"], str):
            if not message["content"].strip():
                yield f"{where}: text content must be non-empty"
        else:
            for block in message["content"]:
                yield from _block(block, where)


def _block(block: Any, where: str) -> Iterator[str]:
    kind = block.get("type")
    if kind not in _BLOCKS or not _BLOCKS[kind] <= set(block):
        yield f"{where}.content: Input tag {kind!r} is unknown or lacks a field"
        return
    if kind == "text" and not block["text"].strip():
        yield f"{where}.content: text content blocks must be non-empty"
    mark = block.get("cache_control")
    if mark is not None and (mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in ("5m", "1h")):
        yield f"{where}.cache_control: must be ephemeral, with ttl 5m or 1h"
    if kind == "image":
        source = block["source"]
        media = {"image/jpeg", "image/png", "image/gif", "image/webp"}
        if source.get("type") == "base64" and source.get("media_type") not in media:
            yield f"{where}.image.source.media_type: not one of {sorted(media)}"
        if source.get("type") == "url" and not str(source.get("url")).startswith("https://"):
            yield f"{where}.image.source.url: only https URLs are supported"


def _schema(schema: Any, where: str) -> Iterator[str]:
    if not isinstance(schema, dict):
        yield f"{where}: Input should be an object"
        return
    for key in sorted(set(schema) - _SCHEMA_KEYS):
        yield f"{where}: For '{schema.get('type')}' type, property '{key}' is not supported"
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
    if "$ref" in schema and schema.keys() - {"$ref", "$defs"}:
        yield f"{where}: $ref takes nothing beside it"
    if any("$ref" in part for part in schema.get("allOf", [])):
        yield f"{where}: allOf with $ref is not supported"
    if isinstance(schema.get("type"), list):
        yield f"{where}: use anyOf instead of several types"
    for key in ("anyOf", "allOf"):
        for part in schema.get(key, []):
            yield from _schema(part, f"{where}.{key}")
    for group in ("properties", "$defs"):
        for name, part in schema.get(group, {}).items():
            yield from _schema(part, f"{where}.{group}.{name}")
    if "items" in schema:
        yield from _schema(schema["items"], f"{where}.items")
