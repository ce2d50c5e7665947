"""The object around a schema whose root is none, for the services that take nothing else: put on when a row is asked, taken
off when it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

WRAPPED_IN: Final = "answer"
"""The one property of the object."""


def is_wrapped(schema: Mapping[str, Any]) -> bool:
    """Whether answers to a job's schema may come in an object around them."""
    return not _has_object_root(schema)


def with_object_root(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself where its root is an object, else one of an object around it."""
    if _has_object_root(schema):
        return schema if "type" in schema else {"type": "object", **schema}
    groups = {name: schema[name] for name in ("$schema", "$defs", "definitions") if name in schema}
    inner = {name: value for name, value in schema.items() if name not in groups}
    return {
        **_moved(groups),
        "type": "object",
        "properties": {WRAPPED_IN: _moved(inner)},
        "required": [WRAPPED_IN],
        "additionalProperties": False,
    }


def _moved(node: Any) -> Any:
    """The same with references to the root pointing to where it stands now."""
    if isinstance(node, list):
        return [_moved(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _moved_pointer(value) if key == "$ref" else _moved(value) for key, value in node.items()}


def _moved_pointer(value: Any) -> Any:
    stays = not isinstance(value, str) or value.startswith(("#/$defs/", "#/definitions/"))
    if stays or not (value == "#" or value.startswith("#/")):
        return _moved(value)
    return f"#/properties/{WRAPPED_IN}{value[1:]}"


def _has_object_root(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type", "object" if "properties" in schema else None)
    return kind == "object" and "anyOf" not in schema
