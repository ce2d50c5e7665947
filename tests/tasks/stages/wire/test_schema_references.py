"""References with something beside them, wherever they stand in a schema."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.stages.wire.schema_references import standing_alone, target_of

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}}
BESIDE = {"$ref": "#/$defs/Place", "description": "d"}
INLINED = {**PLACE, "description": "d"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"x": BESIDE}}, {"properties": {"x": INLINED}}),
        ({"patternProperties": {"x": BESIDE}}, {"patternProperties": {"x": INLINED}}),
        *(({key: [BESIDE, True]}, {key: [INLINED, True]}) for key in ("anyOf", "oneOf", "allOf", "prefixItems")),
        *(({key: BESIDE}, {key: INLINED}) for key in ("items", "additionalProperties")),
        ({"items": {"allOf": [BESIDE]}}, {"items": INLINED}),
        ({"items": {**BESIDE, "description": "e"}}, {"items": {**PLACE, "description": "e"}}),
        ({"items": {"$ref": "#/$defs/Place", "type": "object"}}, {"items": PLACE}),
        ({"items": {"$ref": "#/$defs/Place", "type": "string"}}, {"items": {"$ref": "#/$defs/Place", "type": "string"}}),
        ({"items": {"$ref": "#/$defs/No", "title": "t"}}, {"items": {"$ref": "#/$defs/No", "title": "t"}}),
        ({"enum": [BESIDE]}, {"enum": [BESIDE]}),
    ],
)  # fmt: skip
def test_it_is_replaced_by_what_it_points_to(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    definitions = {"$defs": {"Place": PLACE}}
    assert standing_alone({**schema, **definitions}) == {**expected, **definitions}


def test_a_root_that_is_a_reference_is_replaced_on_request() -> None:
    schema = {"$ref": "#/$defs/Place", "$defs": {"Place": PLACE}}
    assert standing_alone(schema) == schema
    assert standing_alone(schema, root_too=True) == {**PLACE, "$defs": {"Place": PLACE}}


@pytest.mark.parametrize(
    ("reference", "target"),
    [("#/$defs/a~1b", 1), ("#/$defs/c~0d", 2), ("#/$defs/none", None), ("#", None), ("https://x.test/y", None), (7, None)],
)  # fmt: skip
def test_a_pointer_is_followed_into_the_schema_itself(reference: object, target: object) -> None:
    assert target_of(reference, {"$defs": {"a/b": 1, "c~d": 2}}) == target
