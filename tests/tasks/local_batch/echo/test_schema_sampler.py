"""Values made up for a schema satisfy it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.local_batch.echo.schema_sampler import SchemaSampler

TEXTS = ("", "hello", "The app crashes on login.", "請求書が二重に届きました。" * 20, "🐈" * 300)

TICKET = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["bug", "billing", "other"]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 10}, "minItems": 2, "maxItems": 3},
        "note": {"type": ["string", "null"]},
        "urgent": {"type": "boolean"},
    },
    "required": ["label", "confidence", "stars", "tags", "note", "urgent"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"value": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["value", "children"],
    "additionalProperties": False,
}
LIST = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS: list[Any] = [
    {},
    TICKET,
    TREE,
    LIST,
    {"const": {"a": 1}},
    {"enum": [1, "two", None]},
    {"type": "null"},
    {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
    {"type": "integer", "minimum": -7, "maximum": -7},
    {"type": "integer", "multipleOf": 7, "minimum": 50},
    {"type": "integer", "maximum": -1000},
    {"type": "number", "multipleOf": 0.01, "minimum": 0.5, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-9},
    {"type": "string", "minLength": 100, "maxLength": 110},
    {"type": "string", "maxLength": 0},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "email"},
    {"type": "string", "format": "ipv4"},
    {"type": "string", "pattern": "^[A-Z]{2}$"},
    {"type": "array", "items": {"type": "string"}, "minItems": 5, "uniqueItems": True},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "boolean"}],
        "items": False,
        "minItems": 2,
    },
    {"type": "array", "maxItems": 0},
    {"type": "object", "required": ["x", "y"], "additionalProperties": {"type": "integer"}},
    {"type": "object", "minProperties": 3},
    {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["c"], "maxProperties": 2},
    {
        "allOf": [
            {"type": "object", "required": ["a"]},
            {"properties": {"a": {"type": "integer", "minimum": 3}}},
        ]
    },
    {"allOf": [{"minimum": 3}, {"maximum": 3, "type": "integer"}]},
    {"anyOf": [{"type": "string", "minLength": 4}, {"type": "array", "items": {"type": "null"}}]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {
        "type": "object",
        "properties": {"a/b": {"type": "integer"}, "c": {"$ref": "#/properties/a~1b"}},
        "required": ["c"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:8])
def test_an_echo_satisfies_the_schema(schema: dict[str, Any], text: str) -> None:
    value = SchemaSampler(schema).sample(text)
    assert jsonschema_rs.is_valid(schema, value), value


def test_the_same_text_gives_the_same_value_and_others_differ() -> None:
    sampler = SchemaSampler(TICKET)
    labels = {sampler.sample(f"ticket {number}")["label"] for number in range(50)}
    assert sampler.sample("x") == SchemaSampler(TICKET).sample("x")
    assert labels == {"bug", "billing", "other"}


def test_strings_are_drawn_from_the_text() -> None:
    assert SchemaSampler({"type": "string"}).sample("The app crashes") == "The app crashes"


def _bounded(values: Any, low: str, high: str) -> Any:
    pairs = st.tuples(values, values).map(sorted)
    return pairs.map(lambda pair: {low: pair[0], high: pair[1]})


LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": ["integer", "null"]}),
    st.lists(st.text(max_size=5), min_size=1, unique=True).map(
        lambda options: {"type": "string", "enum": options}
    ),
    _bounded(st.integers(0, 60), "minLength", "maxLength").map(lambda bounds: {"type": "string", **bounds}),
    _bounded(st.integers(-(10**6), 10**6), "minimum", "maximum").map(
        lambda bounds: {"type": "integer", **bounds}
    ),
    _bounded(st.floats(-1e6, 1e6), "minimum", "maximum").map(lambda bounds: {"type": "number", **bounds}),
)


def _objects(inner: Any) -> Any:
    properties = st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=4)
    return properties.map(
        lambda given: {
            "type": "object",
            "properties": given,
            "required": list(given)[::2],
            "additionalProperties": False,
        }
    )


SCHEMA = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        _objects(inner),
        st.tuples(inner, st.integers(0, 3), st.integers(0, 3)).map(
            lambda of: {"type": "array", "items": of[0], "minItems": of[1], "maxItems": of[1] + of[2]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(SCHEMA, st.text(max_size=60))
def test_an_echo_satisfies_any_schema(schema: dict[str, Any], text: str) -> None:
    assert jsonschema_rs.is_valid(schema, SchemaSampler(schema).sample(text))
