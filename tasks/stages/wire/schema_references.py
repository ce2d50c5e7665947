"""References of a JSON Schema with something beside them, which no vendor takes: replaced by what they point to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

REMARKS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)
"""Words that say nothing of which values fit."""
NAMED: Final = ("properties", "$defs", "definitions", "patternProperties")
LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE: Final = ("items", "additionalProperties")
"""Where a schema has others in it: by name, in a list, or one."""
_MOST_STEPS: Final = 10


def standing_alone(schema: Mapping[str, Any], *, root_too: bool = False) -> dict[str, Any]:
    """The schema in which every reference, and every allOf of one part, with something beside it is what it points to with
    that; with `root_too` also a root that is a reference alone.

    What is inside of what it points to already stays a reference, without the remarks beside it: what contains itself
    still ends. A reference that says more than remarks, and something else than what it points to, stays as it is.
    """
    replaced: dict[str, Any] = _replaced(schema, schema, frozenset(), lone_too=root_too)
    return replaced


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """A schema and every one in it."""
    if not isinstance(node, dict):
        return
    yield node
    for group in NAMED:
        parts = node.get(group)
        for part in parts.values() if isinstance(parts, Mapping) else ():
            yield from nodes(part)
    for key in LISTED:
        parts = node.get(key)
        for part in parts if isinstance(parts, list) else ():
            yield from nodes(part)
    for key in SINGLE:
        yield from nodes(node.get(key))


def target_of(reference: Any, root: Mapping[str, Any]) -> Any:
    """What a pointer into the schema itself points to; None for all else."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    target: Any = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        target = target.get(name) if isinstance(target, Mapping) else None
    return target


def _replaced(node: Any, root: Mapping[str, Any], inside: frozenset[str], *, lone_too: bool = False) -> Any:
    if not isinstance(node, Mapping):
        return node
    out, inside = _expanded(node, root, inside, lone_too=lone_too)
    for group in NAMED:
        if isinstance(out.get(group), Mapping):
            out[group] = {name: _replaced(part, root, inside) for name, part in out[group].items()}
    for key in LISTED:
        if isinstance(out.get(key), list):
            out[key] = [_replaced(part, root, inside) for part in out[key]]
    for key in SINGLE:
        if key in out:
            out[key] = _replaced(out[key], root, inside)
    return out


def _expanded(
    node: Mapping[str, Any], root: Mapping[str, Any], inside: frozenset[str], *, lone_too: bool
) -> tuple[dict[str, Any], frozenset[str]]:
    """(the node, what it is inside of)."""
    for _ in range(_MOST_STEPS):
        one_part = isinstance(node.get("allOf"), list) and len(node["allOf"]) == 1
        key = "allOf" if one_part else "$ref"
        kept = {name: value for name, value in node.items() if name != key}
        target = node["allOf"][0] if one_part else target_of(node.get("$ref"), root)
        if not isinstance(target, Mapping) or not (
            one_part or lone_too or kept.keys() - {*NAMED[1:3], "$schema"}
        ):
            break
        if any(name in target and target[name] != kept[name] for name in kept.keys() - REMARKS):
            break
        if not one_part and node["$ref"] in inside:
            return ({"$ref": node["$ref"]} if kept.keys() <= REMARKS else dict(node)), inside
        inside = inside if one_part else inside | {node["$ref"]}
        node = {**target, **kept}
    return dict(node), inside
