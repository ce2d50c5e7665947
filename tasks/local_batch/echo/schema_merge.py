"""Merge two JSON Schemas that must hold at once (as in `allOf`) into one, and tell JSON Schema types apart."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

# Of two such bounds, the stricter one holds.
_HIGHEST_HOLDS: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_LOWEST_HOLDS: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})


def merge_schemas(one: Schema, other: Any) -> Schema:
    """One schema that asks for what both ask for; a keyword that only one of them has is taken as it is."""
    if not isinstance(other, dict):  # `true`: anything goes
        return one
    merged = {**one, **other}
    for key in one.keys() & other.keys():
        if key in ("anyOf", "oneOf", "$ref"):  # these cannot be merged: one of the two goes into an allOf
            merged["allOf"] = [*merged.get("allOf", []), {key: one[key]}]
        else:
            merged[key] = _merge_keyword(key, one[key], other[key])
    return merged


def _merge_keyword(key: str, mine: Any, theirs: Any) -> Any:
    if key == "properties":
        shared = {name: merge_schemas(mine[name], theirs[name]) for name in mine.keys() & theirs.keys()}
        return {**mine, **theirs, **shared}
    if key == "required":
        return [*mine, *(name for name in theirs if name not in mine)]
    if key == "enum":
        return [option for option in mine if option in theirs]
    if key == "allOf":
        return [*mine, *theirs]
    if key in _HIGHEST_HOLDS:
        return max(mine, theirs)
    if key in _LOWEST_HOLDS:
        return min(mine, theirs)
    return _common_type(mine, theirs) if key == "type" else theirs


def _common_type(mine: Any, theirs: Any) -> Any:
    shared = [name for name in _type_names(mine) if name in _type_names(theirs)]
    return shared[0] if len(shared) == 1 else shared or theirs


def _type_names(types: Any) -> list[str]:
    return types if isinstance(types, list) else [types]


def has_type(value: Any, types: Any) -> bool:
    """Whether a value is of a JSON Schema type, or of one in a list; None is any."""
    if types is None:
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
    return any(checks.get(name, False) for name in _type_names(types))
