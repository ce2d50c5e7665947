"""References of a JSON Schema with something beside them, which no vendor takes: replaced by what they point to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

REMARKS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)
"""Words that say nothing of which values fit."""
_MOST_STEPS: Final = 10


def without_reference(
    node: Mapping[str, Any], root: Mapping[str, Any], inlined: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], frozenset[str]]:
    """(the node, `inlined` with the references that are no more): a reference or a lone allOf with something beside it is
    what it points to with that; at the root also one with nothing beside it.

    What is inside of what it points to already stays a reference, without the remarks beside it: what contains itself
    still ends. One that says more than remarks stays as it is.
    """
    is_root = node is root
    for _ in range(_MOST_STEPS):
        lone = isinstance(node.get("allOf"), list) and len(node["allOf"]) == 1
        key = "allOf" if lone else "$ref"
        kept = {name: value for name, value in node.items() if name != key}
        target = node["allOf"][0] if lone else target_of(node.get("$ref"), root)
        if not isinstance(target, Mapping) or not (lone or is_root or kept):
            break
        if any(name in target and target[name] != kept[name] for name in kept.keys() - REMARKS):
            break
        if not lone and node["$ref"] in inlined:
            return ({"$ref": node["$ref"]} if kept.keys() <= REMARKS else dict(node)), inlined
        inlined = inlined if lone else inlined | {node["$ref"]}
        node = {**target, **kept}
    return dict(node), inlined


def target_of(reference: Any, root: Mapping[str, Any]) -> Any:
    """What a pointer into the schema itself points to; None for all else."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    target: Any = root
    for step in reference[2:].split("/"):
        target = (
            target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        )
    return target
