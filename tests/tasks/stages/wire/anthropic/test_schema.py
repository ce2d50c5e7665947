"""JSON Schemas as Anthropic's structured outputs take them."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import transform_schema

from configs.errors import ConfigError
from configs.prompt import Prompt
from fakes.anthropic_rules import _schema as problems
from tasks.stages.wire.anthropic.requests import notes
from tasks.stages.wire.anthropic.schema import sendable, unenforced

TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


@pytest.mark.parametrize(
    ("node", "sent"),
    [
        (TEXT, TEXT),
        ({"type": "string", "enum": ["a", "b"]}, {"enum": ["a", "b"]}),
        ({"const": 1, "title": "t"}, {"title": "t", "const": 1}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "phone"}, {"type": "string", "description": '{format: "phone"}'}),
        (
            {"type": "integer", "minimum": 1, "description": "Stars."},
            {"type": "integer", "description": "Stars.\n\n{minimum: 1}"},
        ),
        ({"type": "array", "items": TEXT, "minItems": 1}, {"type": "array", "items": TEXT, "minItems": 1}),
        (
            {"type": "array", "items": TEXT, "minItems": 2},
            {"type": "array", "items": TEXT, "description": "{minItems: 2}"},
        ),
        ({"type": ["string", "null"]}, {"anyOf": [TEXT, {"type": "null"}]}),
        (
            {"type": ["integer", "null"], "minimum": 1},
            {"anyOf": [{"type": "integer", "description": "{minimum: 1}"}, {"type": "null"}]},
        ),
        ({"oneOf": [TEXT, {"type": "boolean"}]}, {"anyOf": [TEXT, {"type": "boolean"}]}),
        ({"allOf": [of(a=TEXT)]}, {**of(a=TEXT), "additionalProperties": False}),
        (
            {"allOf": [TEXT, {"type": "string", "format": "date"}]},
            {"allOf": [TEXT, {"type": "string", "format": "date"}]},
        ),
        (of(a=TEXT), {**of(a=TEXT), "additionalProperties": False}),
        (
            {"properties": {"a": TEXT}},
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False},
        ),
    ],
)
def test_every_rule_is_sent_or_told(node: dict[str, Any], sent: dict[str, Any]) -> None:
    found = sendable(of(x=node))
    assert found == {**of(x=sent), "additionalProperties": False}
    assert list(problems(found, "schema")) == []


@pytest.mark.parametrize("group", ["$defs", "definitions"])
def test_definitions_are_kept_under_one_name(group: str) -> None:
    schema = {
        **of(x={"$ref": f"#/{group}/Item"}),
        group: {"Item": of(a=TEXT)},
        "$schema": "https://json-schema.org",
    }
    assert sendable(schema) == {
        **of(x={"$ref": "#/$defs/Item"}),
        "additionalProperties": False,
        "$defs": {"Item": {**of(a=TEXT), "additionalProperties": False}},
    }


@pytest.mark.parametrize(
    "node",
    [{"$ref": "#/$defs/Item", "description": "d"}, {"allOf": [{"$ref": "#/$defs/Item"}], "description": "d"}],
)
def test_a_text_beside_a_reference_is_kept(node: dict[str, Any]) -> None:
    found = sendable({**of(x=node), "$defs": {"Item": of(a=TEXT)}})
    assert found["properties"]["x"] == {**of(a=TEXT), "description": "d", "additionalProperties": False}
    assert list(problems(found, "schema")) == []


@pytest.mark.parametrize(
    ("node", "where"),
    [
        ({"type": "object"}, "prompt.schema.properties.x"),
        ({"type": "object", "additionalProperties": TEXT}, "prompt.schema.properties.x"),
        ({}, "prompt.schema.properties.x"),
        (True, "prompt.schema.properties.x"),
        ({"type": "text"}, "prompt.schema.properties.x"),
        ({"enum": [["a"]]}, "prompt.schema.properties.x"),
        ({"type": "array", "items": {}}, "prompt.schema.properties.x.items"),
        ({"anyOf": [TEXT, {"type": "object"}]}, "prompt.schema.properties.x.anyOf[1]"),
        ({"type": ["object", "null"]}, "prompt.schema.properties.x"),
        ({"$ref": "https://example.com/schema"}, "prompt.schema.properties.x"),
        ({"allOf": [{"$ref": "#/$defs/A"}, TEXT]}, "prompt.schema.properties.x"),
    ],
)
def test_what_cannot_be_said_is_an_error_with_its_place(node: object, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sendable(of(x=node))
    assert str(caught.value).startswith(f"{where}: Anthropic")


def test_a_schema_within_itself_is_an_error() -> None:
    tree = of(children={"type": "array", "items": {"$ref": "#/$defs/Tree"}})
    with pytest.raises(ConfigError, match=r"prompt\.schema\.\$defs\.Tree"):
        sendable({**of(x={"$ref": "#/$defs/Tree"}), "$defs": {"Tree": tree}})


@pytest.mark.parametrize(
    "schema",
    [
        of(a=TEXT, b={"type": "integer"}, c={"type": "array", "items": {"type": "number"}}),
        of(a={"anyOf": [TEXT, {"type": "null"}]}, b={"type": "string", "enum": ["x"]}),
        {**of(a={"$ref": "#/$defs/D"}), "$defs": {"D": of(b={"type": "boolean"})}},
    ],
)
def test_it_says_what_the_vendors_own_sdk_makes_of_a_schema(schema: dict[str, Any]) -> None:
    assert sendable(schema) == transform_schema(schema)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"type": "string", "pattern": "a", "maxLength": 3}, ["maxLength", "pattern"]),
        (
            {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2},
            ["minItems", "minimum"],
        ),
        ({"type": "array", "items": TEXT, "minItems": 1}, []),
        ({"type": "string", "format": "date", "description": "d", "default": "x"}, []),
        ({"type": "string", "format": "phone"}, ["format"]),
    ],
)
def test_what_the_model_is_told_and_not_held_to(node: dict[str, Any], words: list[str]) -> None:
    assert unenforced(of(x=node)) == words
    found = notes(Prompt.model_validate({"model": "m", "user": "u", "schema": of(x=node)}))
    assert [", ".join(words) in note for note in found] == [True] * bool(words)
