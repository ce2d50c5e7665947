"""From a `Prompt` to a request tree in OpenAI's line format: `{"custom_id", "method", "url", "body"}`.

A request tree is plain JSON values (dict, list, str, int, float, bool, None) with two kinds of holes: `Template` leaves,
rendered for every row, and `CUSTOM_ID`. What fills them (`tasks.stages.prompt.render`) knows no dialect, so another dialect
is another builder beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.prompt.render import CUSTOM_ID, Template, templated
from tasks.stages.wire.openai.params import check_params

__all__ = ["CUSTOM_ID", "SCHEMA_NAME", "Template", "envelope_bytes", "is_strict", "request_tree"]

SCHEMA_NAME = "answer"

# What OpenAI's Structured Outputs guide accepts in strict mode; any other keyword is a 400 on every row.
_STRICT_KEYWORDS = frozenset(
    {
        "$defs",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "definitions",
        "description",
        "enum",
    }
    | {
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
    }
    | {"multipleOf", "pattern", "properties", "required", "title", "type"}
)


def request_tree(prompt: Prompt) -> dict[str, Any]:
    """One row's request as a tree.

    Raises `ConfigError` where params and the job's own keys say the same thing, or a param would fail every row.
    """
    check_params(prompt)
    body: dict[str, Any] = {"model": prompt.model}
    body |= _asked(prompt)
    for name, value in prompt.params.items():
        if name in body:
            raise ConfigError(
                f"prompt.params.{name}: the job's own keys already set it; remove one of the two"
            )
        body[name] = templated(value, f"prompt.params.{name}")
    if prompt.answer_schema is not None:
        body |= _answer_format(prompt)
    return {"custom_id": CUSTOM_ID, "method": "POST", "url": prompt.endpoint, "body": body}


def envelope_bytes(prompt: Prompt, tree_of: Callable[[Prompt], dict[str, Any]]) -> int:
    """Bytes of a line that no model reads: its JSON around empty texts, params and a 13-byte id.

    `tree_of` is the dialect's `request_tree`; the id is a tree's first field.
    """
    silent = {"content": "", "text": ""}
    blank = prompt.model_copy(
        update={
            "answer_schema": None,
            "system": None if prompt.system is None else "",
            "user": _blank(prompt.user, silent),
            "messages": tuple(
                message.model_copy(update={"content": _blank(message.content, silent)})
                for message in prompt.messages
            ),
        }
    )
    tree = tree_of(blank)
    tree[next(iter(tree))] = "row-000000000"
    return len(orjson.dumps(tree, default=lambda _: "", option=orjson.OPT_PASSTHROUGH_DATACLASS)) + len(b"\n")


def is_strict(schema: dict[str, Any]) -> bool:
    """Whether OpenAI takes `schema` with `strict: true`: a closed object, all the way down."""
    return schema.get("type") == "object" and "anyOf" not in schema and _is_closed(schema)


def _asked(prompt: Prompt) -> dict[str, Any]:
    match prompt.endpoint:
        case "/v1/chat/completions":
            return {"messages": _messages(prompt)}
        case "/v1/responses":
            return _responses(prompt)
        case "/v1/completions" | "/v1/images/generations" | "/v1/images/edits" | "/v1/videos":
            return {"prompt": templated(prompt.user, "prompt.user")}
        case _:
            return {"input": templated(prompt.user, "prompt.user")}


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    if prompt.messages:
        return [
            {"role": message.role, "content": templated(message.content, f"prompt.messages[{i}].content")}
            for i, message in enumerate(prompt.messages)
        ]
    user = {"role": "user", "content": templated(prompt.user, "prompt.user")}
    if prompt.system is None:
        return [user]
    return [{"role": "system", "content": templated(prompt.system, "prompt.system")}, user]


def _responses(prompt: Prompt) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if prompt.system is not None:
        body["instructions"] = templated(prompt.system, "prompt.system")
    if isinstance(prompt.user, str):
        return body | {"input": templated(prompt.user, "prompt.user")}
    asked = prompt.model_copy(update={"system": None})
    return body | {"input": [_responses_message(message) for message in _messages(asked)]}


def _responses_message(message: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(message["content"], list):
        return message
    parts = [_responses_part(part, message["role"]) for part in message["content"]]
    return {**message, "content": parts}


def _responses_part(part: dict[str, Any], role: str) -> dict[str, Any]:
    """A chat content part under its responses name, so that one job file works at both endpoints."""
    if part.get("type") == "text":
        return {**part, "type": "output_text" if role == "assistant" else "input_text"}
    image = part.get("image_url")
    if part.get("type") == "image_url" and isinstance(image, dict) and "url" in image:
        return {"type": "input_image", "image_url": image["url"]} | {k: image[k] for k in image if k != "url"}
    return part


def _answer_format(prompt: Prompt) -> dict[str, Any]:
    """The body field that asks for JSON. The schema is static: answers are checked against this very text."""
    schema = prompt.answer_schema or {}
    # strict: true with a schema outside the strict rules fails every single row, after the night's wait. Without it
    # the model still sees the schema, and every answer is validated when it comes back.
    named = {"name": SCHEMA_NAME, "strict": is_strict(schema), "schema": schema}
    if prompt.endpoint == "/v1/responses":
        text = prompt.params.get("text", {})
        if not isinstance(text, dict) or "format" in text:
            raise ConfigError(
                "prompt.params.text: prompt.schema already sets text.format; remove one of the two"
            )
        return {"text": {**templated(text, "prompt.params.text"), "format": {"type": "json_schema", **named}}}
    if "response_format" in prompt.params:
        raise ConfigError(
            "prompt.params.response_format: prompt.schema already sets it; remove one of the two"
        )
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _is_closed(node: Any) -> bool:
    """Whether a schema node and all below it keep the strict rules."""
    if not isinstance(node, dict) or not node.keys() <= _STRICT_KEYWORDS:
        return False
    if not (_describes_no_object(node) or _is_closed_object(node)):
        return False
    below = [*node.get("anyOf", ()), *([node["items"]] if "items" in node else [])]
    for group in ("properties", "$defs", "definitions"):
        below += node.get(group, {}).values()
    return all(_is_closed(child) for child in below)


def _describes_no_object(node: dict[str, Any]) -> bool:
    kinds = node.get("type", ())
    return "object" not in ((kinds,) if isinstance(kinds, str) else kinds) and "properties" not in node


def _is_closed_object(node: dict[str, Any]) -> bool:
    names = node.get("properties", {}).keys()
    return node.get("additionalProperties") is False and set(node.get("required", ())) == set(names)


def _blank(content: Any, silent: dict[str, str]) -> Any:
    """`content` without its texts, its parts and their other fields kept."""
    if isinstance(content, str) or content is None:
        return None if content is None else ""
    return tuple({**part, **{key: silent[key] for key in part.keys() & silent.keys()}} for part in content)
