"""JSON Schemas as Gemini's structured output takes them."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from fakes.gemini_rules import refuse_row
from tasks.stages.wire.gemini.requests import notes, request_tree
from tasks.stages.wire.gemini.schema import sendable, unenforced

TEXT = {"type": "string"}


def of(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties) if required is None else required,
    }


PLACE = of(city=TEXT)
REFERENCE = {"$ref": "#/$defs/Place"}


@pytest.mark.parametrize(
    ("node", "sent"),
    [
        (REFERENCE, REFERENCE),
        ({**REFERENCE, "description": "d"}, {**PLACE, "description": "d"}),
        ({"allOf": [REFERENCE], "title": "t"}, {**PLACE, "title": "t"}),
        ({"anyOf": [{**REFERENCE, "title": "t"}, {"type": "null"}]}, {"anyOf": [{**PLACE, "title": "t"}, {"type": "null"}]}),
        ({"type": "array", "items": {**REFERENCE, "default": {}}}, {"type": "array", "items": {**PLACE, "default": {}}}),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"const": None}, {"const": None}),
    ],
)  # fmt: skip
def test_a_reference_stands_alone(node: dict[str, Any], sent: dict[str, Any]) -> None:
    schema = {**of(x=node), "$defs": {"Place": PLACE}}
    assert sendable(schema) == {**of(x=sent), "$defs": {"Place": PLACE}}
    tree = request_tree(Prompt.model_validate({"model": "m", "user": "u", "schema": schema}))
    assert refuse_row({**tree, "key": "a"}, embeds=False) is None


def test_a_root_that_is_a_reference_is_taken() -> None:
    schema = {"$ref": "#/$defs/Place", "$defs": {"Place": PLACE}}
    assert sendable(schema) == schema


@pytest.mark.parametrize(
    ("below", "required", "taken"),
    [
        ({"type": "array", "items": {"$ref": "#/$defs/Tree"}}, [], True),
        ({"type": "array", "items": {"$ref": "#/$defs/Tree"}}, ["below"], False),
        ({"anyOf": [{"$ref": "#/$defs/Tree", "description": "d"}, {"type": "null"}]}, ["below"], False),
        ({"$ref": "#/$defs/Other"}, ["below"], False),
        ({"$ref": "#/$defs/Place"}, ["below"], True),
    ],
)
def test_what_contains_itself_is_taken_where_it_may_be_left_out(
    below: dict[str, Any], required: list[str], taken: bool
) -> None:
    definitions = {
        "Tree": of(required, below=below),
        "Other": of(tree={"$ref": "#/$defs/Tree"}),
        "Place": PLACE,
    }
    schema = {**of(x={"$ref": "#/$defs/Tree"}), "$defs": definitions}
    if taken:
        assert sendable(schema)["$defs"]["Tree"]["required"] == required
        return
    with pytest.raises(ConfigError, match=r"^prompt\.schema: the property '\w+' contains its own object"):
        sendable(schema)


def test_a_plan_says_which_rules_are_not_held_to() -> None:
    schema = of(x={**TEXT, "pattern": "a", "maxLength": 3}, y={"type": "integer", "minimum": 1})
    assert unenforced(schema) == ["maxLength", "pattern"]
    [note] = notes(Prompt.model_validate({"model": "m", "user": "u", "schema": schema}))
    assert "maxLength, pattern" in note
    assert notes(Prompt.model_validate({"model": "m", "user": "u", "schema": PLACE})) == []
