"""A JSON Schema as Anthropic's structured outputs take it.

They know objects that are closed, arrays, the plain types, enum, const, anyOf, allOf (of parts that are no $ref) and $ref:
what the SDK's own `transform_schema` keeps, which drops what stands beside a $ref. Any other rule goes into the description,
where the model reads it, and is checked when the answer comes back; a shape that could not be said at all is a ConfigError.
https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from configs.errors import ConfigError
from tasks.stages.wire.schema_references import REMARKS, nodes, standing_alone

_PLAIN = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_NO_RULES = frozenset({"$schema", "$id", "$comment", "$defs", "definitions", "additionalProperties"})
_SAID = _NO_RULES | REMARKS | {
    "$ref", "allOf", "anyOf", "const", "enum", "items", "oneOf", "properties", "required", "type",
}  # fmt: skip
_ROOT = "prompt.schema"


def sendable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema to send. Raises ConfigError naming the place of what cannot be said."""
    schema = standing_alone(schema)
    groups = [(name, schema.get(name)) for name in ("$defs", "definitions")]
    named = {
        name: (f"{_ROOT}.{group}.{name}", part)
        for group, parts in groups
        if isinstance(parts, Mapping)
        for name, part in parts.items()
    }
    _refuse_recursion({name: part for name, (_, part) in named.items()})
    out = _node(schema, _ROOT)
    if named:
        out["$defs"] = {name: _node(part, where) for name, (where, part) in named.items()}
    return out


def unenforced(schema: Mapping[str, Any]) -> list[str]:
    """Words in a schema that the model is told, and not held to."""
    found = [(word, value) for node in nodes(standing_alone(schema)) for word, value in node.items()]
    held = {"format": _FORMATS, "minItems": (0, 1)}
    return sorted({word for word, value in found if word not in _SAID and value not in held.get(word, ())})


def _node(schema: Any, where: str) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _cannot(where, "must be a schema with a type")
    rest = {key: value for key, value in schema.items() if key not in _NO_RULES}
    reference = rest.pop("$ref", None)
    if reference is not None:
        return {"$ref": _local(reference, where)}
    out = {key: rest.pop(key) for key in ("title", "description") if key in rest}
    out |= _shape(rest, where)
    if rest:
        rules = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in rest.items())
        out["description"] = "\n\n".join(
            [*([out["description"]] if "description" in out else []), f"{{{rules}}}"]
        )
    return out


def _shape(rest: dict[str, Any], where: str) -> dict[str, Any]:
    """What the node is; takes out of `rest` what it has said."""
    kind = rest.pop("type", "object" if "properties" in rest else None)
    literals: dict[str, Any] = {key: rest.pop(key) for key in ("enum", "const") if key in rest}
    if literals:
        if any(
            isinstance(value, list | dict) for value in [*literals.get("enum", ()), literals.get("const")]
        ):
            raise _cannot(where, "enum and const take strings, numbers, booleans and null")
        return literals
    for key in ("anyOf", "oneOf", "allOf"):
        if key in rest:
            parts = [_node(part, f"{where}.{key}[{i}]") for i, part in enumerate(rest.pop(key))]
            if key == "allOf" and any("$ref" in part for part in parts):
                raise _cannot(where, "allOf of several parts takes no $ref")
            return {"allOf" if key == "allOf" else "anyOf": parts}
    if isinstance(kind, list):
        variants = [{**rest, "type": one} if one != "null" else {"type": one} for one in kind]
        rest.clear()
        return {"anyOf": [_node(one, where) for one in variants]}
    if kind not in _PLAIN:
        raise _cannot(where, "needs a type")
    if kind == "object":
        return {"type": kind, **_object(rest, where)}
    if kind == "array" and "items" in rest:
        few = {"minItems": rest.pop("minItems")} if rest.get("minItems") in (0, 1) else {}
        return {"type": kind, "items": _node(rest.pop("items"), f"{where}.items"), **few}
    if kind == "string" and rest.get("format") in _FORMATS:
        return {"type": kind, "format": rest.pop("format")}
    return {"type": kind}


def _object(rest: dict[str, Any], where: str) -> dict[str, Any]:
    properties = rest.pop("properties", None)
    if not isinstance(properties, Mapping) or not properties:
        raise _cannot(where, "an object needs named properties")
    required = {"required": rest.pop("required")} if "required" in rest else {}
    return {
        "properties": {name: _node(part, f"{where}.properties.{name}") for name, part in properties.items()},
        **required,
        "additionalProperties": False,
    }


def _local(reference: Any, where: str) -> str:
    for group in ("#/$defs/", "#/definitions/"):
        if isinstance(reference, str) and reference.startswith(group):
            return "#/$defs/" + reference.removeprefix(group)
    raise _cannot(where, f"$ref {reference!r} must point to one of the schema's own $defs")


def _refuse_recursion(named: Mapping[str, Any]) -> None:
    below = {name: _references(part) & named.keys() for name, part in named.items()}
    for name in below:
        seen: set[str] = set()
        ahead = set(below[name])
        while ahead:
            one = ahead.pop()
            seen.add(one)
            ahead |= below[one] - seen
        if name in seen:
            raise _cannot(f"{_ROOT}.$defs.{name}", "must not contain itself")


def _references(node: Any) -> set[str]:
    if isinstance(node, Mapping):
        own = node.get("$ref")
        names = {own.rpartition("/")[2]} if isinstance(own, str) else set()
        return names.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def _cannot(where: str, why: str) -> ConfigError:
    return ConfigError(f"{where}: Anthropic's structured outputs cannot say this: {why}")
