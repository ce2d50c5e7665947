"""Schemas as people have them, and what is sent for them."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from tasks.stages.answers.object_root import is_wrapped
from tasks.stages.wire.openai.strict_schema import (
    MAX_DEPTH,
    MAX_ENUM_VALUES,
    MAX_LONG_ENUM_CHARS,
    MAX_NAME_CHARS,
    MAX_PROPERTIES,
    sent_schema,
    strict_problems,
)

TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


PLACE = closed(city=TEXT)
REFERENCE = {"$ref": "#/$defs/Place"}


def with_place(**properties: Any) -> dict[str, Any]:
    return {"$defs": {"Place": PLACE}, **closed(**properties)}


TREE = closed(name=TEXT, below={"type": "array", "items": {"$ref": "#/$defs/Tree"}})


@pytest.mark.parametrize(
    ("schema", "home"),
    [
        (with_place(x={**REFERENCE, "description": "d"}), {**PLACE, "description": "d"}),
        (with_place(x={**REFERENCE, "title": "t", "default": None}), {**PLACE, "title": "t"}),
        (with_place(x={"allOf": [REFERENCE], "description": "d"}), {**PLACE, "description": "d"}),
        (with_place(x={"allOf": [REFERENCE]}), REFERENCE),
        (with_place(x=REFERENCE), REFERENCE),
        (with_place(x={"anyOf": [{**REFERENCE, "description": "d"}, {"type": "null"}]}),
         {"anyOf": [{**PLACE, "description": "d"}, {"type": "null"}]}),
        (closed(x={**TEXT, "default": "d", "examples": ["e"], "deprecated": True}), TEXT),
        (closed(x={"enum": ["a", "b"]}), {**TEXT, "enum": ["a", "b"]}),
        (closed(x={"enum": ["a", None]}), {"type": ["null", "string"], "enum": ["a", None]}),
        (closed(x={"const": 1}), {"type": "integer", "const": 1}),
        ({**closed(x={"$ref": "#/definitions/a", "description": "d"}), "definitions": {"a": TEXT}},
         {**TEXT, "description": "d"}),
    ],
)  # fmt: skip
def test_words_that_strict_mode_refuses_are_said_in_others(
    schema: dict[str, Any], home: dict[str, Any]
) -> None:
    sent = sent_schema(schema)
    assert sent.unenforced is None
    assert sent.schema["properties"]["x"] == home
    assert not list(strict_problems(sent.schema))


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "array", "items": PLACE}, [{"city": "大阪"}], {"city": "大阪"}),
        ({"type": "string", "enum": ["a", "b"]}, "a", "c"),
        ({"anyOf": [PLACE, closed(x=TEXT)]}, {"x": "y"}, {"z": 1}),
        ({"type": "array", "items": REFERENCE, "$defs": {"Place": PLACE}}, [{"city": "x"}], ["x"]),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array", "items": TEXT}, ["a"], [1]),
        ({"type": "array", "items": {"anyOf": [TEXT, {"$ref": "#"}]}}, ["a", ["b"]], [1]),
        ({"type": ["object", "null"], **{k: v for k, v in PLACE.items() if k != "type"}}, None, 1),
    ],
)  # fmt: skip
def test_a_root_that_is_no_object_is_wrapped(schema: dict[str, Any], good: Any, bad: Any) -> None:
    sent = sent_schema(schema)
    if sent.unenforced is None:
        assert not list(strict_problems(sent.schema))
    if not is_wrapped(schema):
        return
    validator = jsonschema_rs.validator_for(sent.schema, offline=True)
    assert validator.is_valid({"answer": good})
    assert not validator.is_valid({"answer": bad})
    assert not validator.is_valid(good)


@pytest.mark.parametrize("root", [{"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Tree", "title": "Tree"}])
def test_a_root_that_is_a_reference_is_what_it_points_to(root: dict[str, Any]) -> None:
    sent = sent_schema({**root, "$defs": {"Tree": TREE}})
    assert sent.unenforced is None
    assert sent.schema["properties"] == TREE["properties"], "one level: what contains itself still ends"


def deep(levels: int) -> dict[str, Any]:
    return closed(x=deep(levels - 1) if levels > 1 else TEXT)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (closed(x=closed(y=TEXT) | {"required": []}), r"$.x.y: every property must be in required"),
        ({"type": "object", "properties": {"x": TEXT}, "required": ["x"]}, "$: additionalProperties must be false"),
        (closed(x={**TEXT, "maxLength": 3}), "$.x: 'maxLength' is not supported"),
        (closed(x={**TEXT, "format": "uri"}), "$.x: the format 'uri' is not supported"),
        (closed(x={}), "$.x: needs a type"),
        (closed(x={"type": "array", "items": {}}), "$.x[]: needs a type"),
        (closed(x={"oneOf": [TEXT]}), "$.x: 'oneOf' is not supported"),
        (with_place(x={**REFERENCE, "type": "string"}), "$.x: $ref cannot have keywords beside it"),
        (deep(MAX_DEPTH + 1), "11 levels"),
        (closed(**{f"p{n}": TEXT for n in range(MAX_PROPERTIES + 1)}), "5,001 properties"),
        (closed(x={"type": "integer", "enum": list(range(MAX_ENUM_VALUES + 1))}), "1,001 enum values"),
        (closed(x={**TEXT, "enum": [f"{n:060}" for n in range(251)]}), f"{MAX_LONG_ENUM_CHARS:,} characters"),
        (closed(**{"p" * (MAX_NAME_CHARS + 1): TEXT}), "characters of names"),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_says_where_and_why(schema: dict[str, Any], why: str) -> None:
    sent = sent_schema(schema)
    assert sent.schema == schema, "as it is: the model still sees it, and the answer is checked"
    assert sent.unenforced is not None
    assert why in sent.unenforced


@pytest.mark.parametrize(
    "schema", [deep(MAX_DEPTH), closed(**{f"p{n}": TEXT for n in range(MAX_PROPERTIES)})]
)
def test_the_limits_themselves_are_taken(schema: dict[str, Any]) -> None:
    assert sent_schema(schema).unenforced is None
