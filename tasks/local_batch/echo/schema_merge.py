"""Two JSON Schemas that must hold at once, as one."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_HIGHEST: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_LOWEST: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})


def both(one: Schema, other: Any) -> Schema:
    """One schema that asks for what two ask for."""
    if not isinstance(other, dict):
        return one
    merged = {**one, **other}
    for key in one.keys() & other.keys():
        mine, theirs = one[key], other[key]
        if key == "properties":
            shared = {name: both(mine[name], theirs[name]) for name in mine.keys() & theirs.keys()}
            merged[key] = {**mine, **theirs, **shared}
        elif key == "required":
            merged[key] = [*mine, *(name for name in theirs if name not in mine)]
        elif key == "enum":
            merged[key] = [option for option in mine if option in theirs]
        elif key == "allOf":
            merged[key] = [*mine, *theirs]
        elif key in ("anyOf", "oneOf", "$ref"):
            merged["allOf"] = [*merged.get("allOf", []), {key: mine}]
        elif key in _HIGHEST:
            merged[key] = max(mine, theirs)
        elif key in _LOWEST:
            merged[key] = min(mine, theirs)
        elif key == "type":
            merged[key] = _common_type(mine, theirs)
    return merged


def _common_type(mine: Any, theirs: Any) -> Any:
    shared = [name for name in _names(mine) if name in _names(theirs)]
    return shared[0] if len(shared) == 1 else shared or theirs


def _names(kind: Any) -> list[str]:
    return kind if isinstance(kind, list) else [kind]


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value has a JSON Schema type, or one of several; None is any."""
    if kind is None:
        return True
    checks = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "null": value is None,
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }
    return any(checks.get(name, False) for name in _names(kind))
