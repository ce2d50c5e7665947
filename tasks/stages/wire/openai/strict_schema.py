"""A JSON Schema as OpenAI's Structured Outputs take it: rewritten in their words, or the reason why it is sent without being
enforced.

What strict mode takes: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas. Any other word is a 400
on every row, and so is a regular expression that looks around itself, as pydantic writes one for Decimal
(https://github.com/pydantic/pydantic-ai/issues/5508). What is sent is never narrower than the job's schema, by which every
answer is checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tasks.stages.answers.object_root import is_wrapped, with_object_root
from tasks.stages.wire.schema_references import REMARKS, standing_alone

MAX_PROPERTIES: Final = 5_000
MAX_DEPTH: Final = 10
MAX_ENUM_VALUES: Final = 1_000
MAX_LONG_ENUM_CHARS: Final = 15_000  # of one enum of more than 250 texts
MAX_NAME_CHARS: Final = 120_000  # of all names, enums and consts
_LONG_ENUM: Final = 250
_KEYWORDS: Final = frozenset(
    {
        "$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "definitions", "description", "enum",
        "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems", "maximum", "minItems", "minimum",
        "multipleOf", "pattern", "properties", "required", "title", "type",
    }
)  # fmt: skip
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_DROPPED: Final = REMARKS - {"title", "description"} | {"$id", "discriminator"}
"""Words that strict mode refuses, and that say nothing of which values fit."""
_LOOKAROUND: Final = re.compile(r"(?<!\\)\(\?<?[=!]")
_GROUPS: Final = ("properties", "$defs", "definitions")
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


@dataclass(frozen=True, slots=True)
class SentSchema:
    """A schema to send, whether it is the job's in an object around it, and why the service does not enforce it; None where it
    does."""

    schema: dict[str, Any]
    wrapped: bool
    unenforced: str | None


def sent_schema(schema: Mapping[str, Any]) -> SentSchema:
    """What to send for a job's schema, its root an object whatever the job's is."""
    rewritten = _rewritten(standing_alone(schema, root_too=True))
    sent = with_object_root(rewritten)
    problem = next(strict_problems(sent), None)
    if problem is None:
        return SentSchema(sent, is_wrapped(rewritten), None)
    return SentSchema(with_object_root(dict(schema)), is_wrapped(schema), problem)


def strict_problems(schema: Any) -> Iterator[str]:
    """Why strict mode refuses a schema, each with its place."""
    if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
        yield "$: the root must be an object, and no anyOf"
        return
    yield from _node_problems(schema, "$")
    yield from _size_problems(schema)


def root_problem(schema: Any) -> str | None:
    """Why a schema is refused although it is not to be enforced."""
    if isinstance(schema, dict) and schema.get("type") == "object":
        return None
    kind = schema.get("type") if isinstance(schema, dict) else None
    return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."


def _rewritten(node: Any) -> Any:
    """A node in words that strict mode takes, as far as there are any."""
    if not isinstance(node, Mapping):
        return node
    out = {key: value for key, value in node.items() if key not in _DROPPED and not key.startswith("x-")}
    if "anyOf" not in out and isinstance(out.get("oneOf"), list):
        out["anyOf"] = out.pop("oneOf")
    for group in _GROUPS:
        if isinstance(out.get(group), Mapping):
            out[group] = {name: _rewritten(part) for name, part in out[group].items()}
    if isinstance(out.get("anyOf"), list):
        out["anyOf"] = [_rewritten(part) for part in out["anyOf"]]
    if "items" in out:
        out["items"] = _rewritten(out["items"])
    return _without_lookaround(_with_type(out))


def _without_lookaround(node: dict[str, Any]) -> dict[str, Any]:
    """The node with such a pattern as a text that the model reads."""
    if not _looks_around(node):
        return node
    rule = f"{{pattern: {node['pattern']}}}"
    text = f"{node['description']}\n\n{rule}" if "description" in node else rule
    return {**{key: value for key, value in node.items() if key != "pattern"}, "description": text}


def _looks_around(node: Mapping[str, Any]) -> bool:
    pattern = node.get("pattern")
    return isinstance(pattern, str) and _LOOKAROUND.search(pattern) is not None


def _with_type(node: dict[str, Any]) -> dict[str, Any]:
    """The type of literals written out, which strict mode wants."""
    if "type" in node or not node.keys() & {"enum", "const"}:
        return node
    values = node["enum"] if isinstance(node.get("enum"), list) else [node.get("const")]
    kinds = sorted({_TYPES.get(type(value), "") for value in values})
    return node if "" in kinds else {"type": kinds[0] if len(kinds) == 1 else kinds, **node}


def _node_problems(node: Any, where: str) -> Iterator[str]:
    if not isinstance(node, dict):
        yield f"{where}: must be a schema with a type"
        return
    for word in sorted(node.keys() - _KEYWORDS):
        yield f"{where}: {word!r} is not supported"
    if "$ref" in node and node.keys() - {"$ref", *_GROUPS[1:], "$schema"}:
        yield f"{where}: $ref cannot have keywords beside it"
    if "$ref" in node and not str(node["$ref"]).startswith("#"):
        yield f"{where}: $ref must point into the schema itself"
    if _looks_around(node):
        yield f"{where}: a pattern cannot look around itself"
    if "anyOf" in node and "properties" in node:
        yield f"{where}: anyOf cannot stand beside properties"
    if not node.keys() & {"type", "$ref", "anyOf"}:
        yield f"{where}: needs a type"
    if "format" in node and node["format"] not in _FORMATS:
        yield f"{where}: the format {node['format']!r} is not supported"
    yield from _literal_problems(node, where)
    if "array" in _kinds(node) and "items" not in node:
        yield f"{where}: an array needs items"
    yield from _object_problems(node, where)
    for place, child in _children(node, where):
        yield from _node_problems(child, place)


def _kinds(node: Mapping[str, Any]) -> Collection[Any]:
    kinds = node.get("type", ())
    return (kinds,) if isinstance(kinds, str) else kinds if isinstance(kinds, list) else ()


def _literal_problems(node: dict[str, Any], where: str) -> Iterator[str]:
    kinds = _kinds(node)
    values = node["enum"] if isinstance(node.get("enum"), list) else []
    for value in values if kinds else ():
        kind = _TYPES.get(type(value), "")
        if kind not in kinds and not (kind == "integer" and "number" in kinds):
            yield f"{where}: the enum value {value!r} is not of its type"


def _object_problems(node: dict[str, Any], where: str) -> Iterator[str]:
    if "object" not in _kinds(node) and "properties" not in node:
        return
    if node.get("additionalProperties") is not False:
        yield f"{where}: additionalProperties must be false"
    names, required = node.get("properties", {}).keys(), set(node.get("required", ()))
    for name in sorted(names - required):
        yield f"{where}.{name}: every property must be in required (let it be null instead)"
    for name in sorted(required - names):
        yield f"{where}: {name!r} is required, and no property"


def _children(node: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for group in _GROUPS:
        shown = where if group == "properties" else f"{where}.{group}"
        parts = node.get(group)
        for name, part in parts.items() if isinstance(parts, dict) else ():
            yield f"{shown}.{name}", part
    for number, part in enumerate(node["anyOf"] if isinstance(node.get("anyOf"), list) else ()):
        yield f"{where}.anyOf[{number}]", part
    if "items" in node:
        yield f"{where}[]", node["items"]


def _size_problems(schema: dict[str, Any]) -> Iterator[str]:
    nodes = list(_walk(schema))
    groups = [parts for node in nodes for group in _GROUPS if isinstance(parts := node.get(group), dict)]
    properties = sum(len(node["properties"]) for node in nodes if isinstance(node.get("properties"), dict))
    enums = [node["enum"] for node in nodes if isinstance(node.get("enum"), list)]
    literals = [
        *(each for enum in enums for each in enum),
        *(node["const"] for node in nodes if "const" in node),
    ]
    chars = sum(map(len, map(str, [*literals, *(name for parts in groups for name in parts)])))
    depth = _depth(schema)
    for name, count, most in (
        ("properties", properties, MAX_PROPERTIES),
        ("levels of objects and arrays", depth, MAX_DEPTH),
        ("enum values", sum(map(len, enums)), MAX_ENUM_VALUES),
        ("characters of names and values", chars, MAX_NAME_CHARS),
    ):
        if count > most:
            yield f"$: {count:,} {name}, and at most {most:,} are taken"
    for enum in enums:
        if len(enum) > _LONG_ENUM and sum(map(len, map(str, enum))) > MAX_LONG_ENUM_CHARS:
            yield f"$: an enum of more than {_LONG_ENUM} values may hold {MAX_LONG_ENUM_CHARS:,} characters"


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for _, child in _children(node, ""):
            yield from _walk(child)


def _depth(node: Any) -> int:
    """Levels of objects below and with this one; definitions count for themselves."""
    if not isinstance(node, dict):
        return 0
    own = 1 if "properties" in node or "items" in node else 0
    return max((own + _depth(child) for _, child in _children(node, "")), default=own)
