"""A JSON Schema as Gemini's structured output takes it.

https://ai.google.dev/api/generate-content, responseJsonSchema: "While the full JSON Schema may be sent, not all features are
supported", "If `$ref` is set on a sub-schema, no other properties, except for than those starting as a `$`, may be set",
cyclic references "may only be used within non-required properties".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from configs.errors import ConfigError
from tasks.stages.wire.schema_references import REMARKS, nodes, standing_alone, target_of

_SUPPORTED: Final = frozenset(
    {
        "$anchor", "$defs", "$id", "$ref", "additionalProperties", "anyOf", "description", "enum", "format", "items",
        "maxItems", "maximum", "minItems", "minimum", "oneOf", "prefixItems", "properties", "propertyOrdering",
        "required", "title", "type",
    }
)  # fmt: skip
_SAYS_NOTHING: Final = REMARKS | {"$schema", "definitions"}
_ROOT: Final = "prompt.schema"


def sendable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema to send. ConfigError for one that contains itself in a property that has to be there."""
    _refuse_endless(schema)
    sent = standing_alone(schema)
    for node in nodes(sent):
        if type(node.get("const")) in (str, int, float) and "enum" not in node:
            node["enum"] = [node.pop("const")]
    return sent


def unenforced(schema: Mapping[str, Any]) -> list[str]:
    """Words in a schema that Gemini does not hold the model to."""
    words = {word for node in nodes(sendable(schema)) for word in node}
    return sorted(words - _SUPPORTED - _SAYS_NOTHING)


def _refuse_endless(schema: Mapping[str, Any]) -> None:
    for node in nodes(schema):
        for name in sorted({str(each) for each in node.get("required") or ()}):
            properties = node.get("properties")
            part = properties.get(name) if isinstance(properties, Mapping) else None
            if _leads_to(part, node, schema, set()):
                raise ConfigError(
                    f"{_ROOT}: the property {name!r} contains its own object and is required, which Gemini does not take;"
                    " leave it out of required"
                )


def _leads_to(part: Any, goal: Mapping[str, Any], root: Mapping[str, Any], seen: set[str]) -> bool:
    """Whether a schema holds the `goal` again, through its references."""
    for node in nodes(part):
        reference = node.get("$ref")
        if node is goal or (reference == "#" and goal is root):
            return True
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            if _leads_to(target_of(reference, root), goal, root, seen):
                return True
    return False
