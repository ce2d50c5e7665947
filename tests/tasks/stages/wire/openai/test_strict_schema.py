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
        ({"$defs": {"Alias": {**REFERENCE, "title": "t"}, "Place": PLACE}, **closed(x={"$ref": "#/$defs/Alias", "description": "d"})},
         {**PLACE, "title": "t", "description": "d"}),
        (with_place(x={"oneOf": [REFERENCE, {"type": "null"}], "discriminator": {"propertyName": "k"}}),
         {"anyOf": [REFERENCE, {"type": "null"}]}),
        (closed(x={**TEXT, "x-order": 1}), TEXT),
        ({"$id": "https://x.test/schema", **closed(x=TEXT)}, TEXT),
        (closed(x={**TEXT, "pattern": "^(?!-)a", "description": "d"}), {**TEXT, "description": "d\n\n{pattern: ^(?!-)a}"}),
        (closed(x={**TEXT, "pattern": r"\(?=a"}), {**TEXT, "pattern": r"\(?=a"}),
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
        ({**PLACE, "type": ["object", "null"]}, None, 1),
        ({"oneOf": [PLACE, closed(x=TEXT)]}, {"x": "y"}, {"z": 1}),
        ({"enum": ["a", 1]}, 1, "b"),
        ({"type": "array", "items": closed(below={"anyOf": [{"$ref": "#/items"}, {"type": "null"}]})}, [{"below": None}], [1]),
    ],
)  # fmt: skip
def test_a_root_that_is_no_object_is_wrapped(schema: dict[str, Any], good: Any, bad: Any) -> None:
    sent = sent_schema(schema)
    assert sent.unenforced is None
    assert sent.wrapped
    assert is_wrapped(schema)
    validator = jsonschema_rs.validator_for(sent.schema, offline=True)
    assert validator.is_valid({"answer": good})
    assert not validator.is_valid({"answer": bad})
    assert not validator.is_valid(good)


@pytest.mark.parametrize("root", [{"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Tree", "title": "Tree"}])
def test_a_root_that_is_a_reference_is_what_it_points_to(root: dict[str, Any]) -> None:
    sent = sent_schema({**root, "$defs": {"Tree": TREE}})
    assert sent.unenforced is None
    assert sent.schema["properties"] == TREE["properties"], "one level: what contains itself still ends"
    assert not sent.wrapped


def test_what_contains_itself_ends_also_where_texts_stand_beside_the_reference() -> None:
    reference = {"$ref": "#/$defs/Tree", "description": "d"}
    tree = closed(name=TEXT, below={"type": "array", "items": reference})
    sent = sent_schema({"$defs": {"Tree": tree}, **closed(x=reference)})
    assert sent.unenforced is None
    home = sent.schema["properties"]["x"]
    assert home == {
        **closed(name=TEXT, below={"type": "array", "items": {"$ref": "#/$defs/Tree"}}),
        "description": "d",
    }


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
        (closed(x={"oneOf": [TEXT, True]}), "$.x.anyOf[1]: must be a schema with a type"),
        (closed(x={"type": "array"}), "$.x: an array needs items"),
        (closed(x={"type": ["array", "null"]}), "$.x: an array needs items"),
        (closed(x={**TEXT, "enum": ["a", None]}), "$.x: the enum value None is not of its type"),
        (closed(x={"$ref": "https://x.test/schema"}), "$.x: $ref must point into the schema itself"),
        *((closed(x={**TEXT, word: value}), f"$.x: {word!r} is not supported") for word, value in {
            "not": TEXT, "if": TEXT, "allOf": [TEXT, TEXT], "patternProperties": {}, "uniqueItems": True, "minLength": 1,
        }.items()),
        (closed(x={"type": "array", "prefixItems": [TEXT], "items": TEXT}), "$.x: 'prefixItems' is not supported"),
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
