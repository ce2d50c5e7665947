"""Answers against a JSON Schema: their column type, their check, and that nothing is lost on the way to Arrow."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from tasks.stages import arrow_columns
from tasks.stages.answers.schema import AnswerChecker, arrow_type

TEXT, INT, FLOAT, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def one(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, TEXT),
        ({"type": "integer"}, INT),
        ({"type": "number"}, FLOAT),
        ({"type": "boolean"}, BOOL),
        ({"type": ["integer", "null"]}, INT),
        ({"type": ["integer", "number"]}, FLOAT),
        ({"type": ["integer", "string"]}, TEXT),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, INT),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, TEXT),
        ({"enum": ["a", "b", None]}, TEXT),
        ({"enum": [1, 2]}, INT),
        ({"enum": [1, "a"]}, TEXT),
        ({"const": True}, BOOL),
        ({"type": "array", "items": {"type": "integer"}}, pa.list_(INT)),
        ({"type": "array"}, TEXT),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, TEXT),
        ({"type": "object"}, TEXT),
        ({"type": "object", "properties": {}}, TEXT),
        (one({"type": "integer"}), pa.struct([("x", INT)])),
        ({}, TEXT),
        (True, TEXT),
        ({"$ref": "#/$defs/n"}, INT),
        ({"$ref": "#/$defs/loop"}, pa.struct([("next", TEXT)])),
        ({"allOf": [{"$ref": "#/$defs/n"}]}, INT),
        ({"$ref": "https://example.org/other"}, TEXT),
    ],
)
def test_a_schema_has_one_column_type(schema: dict[str, Any], expected: pa.DataType) -> None:
    defs = {"n": {"type": "integer"}, "loop": one({"$ref": "#/$defs/loop"})["properties"]["x"]}
    defs["loop"] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/loop"}}}
    root = one(schema) | {"$defs": defs}
    assert arrow_type(root) == pa.struct([("x", expected)])


@pytest.mark.parametrize(
    ("schema", "value", "kept"),
    [
        ({"type": "integer"}, 2**63 - 1, 2**63 - 1),
        ({"type": "integer"}, 5.0, 5),
        ({"type": "number"}, 5, 5.0),
        ({"type": ["string", "integer"]}, "5", '"5"'),
        ({"type": ["string", "integer"]}, 5, "5"),
        ({"type": "object"}, {"b": 1, "a": [None]}, '{"b":1,"a":[null]}'),
        ({"type": ["object", "null"], "properties": {"y": {"type": "integer"}}}, None, None),
        ({"type": "array", "items": {"type": "string"}}, ["a", "b"], ["a", "b"]),
        ({}, "text", '"text"'),
        ({}, None, None),
    ],
)
def test_a_valid_answer_becomes_a_value_of_the_column(
    schema: dict[str, Any], value: object, kept: object
) -> None:
    checker = AnswerChecker(one(schema))
    found, problem = checker.check(json.dumps({"x": value}))
    assert (found, problem) == ({"x": kept}, None)
    assert arrow_columns.build([found], checker.type).to_pylist() == [{"x": kept}]


@pytest.mark.parametrize(
    ("schema", "text", "problem"),
    [
        (one({"type": "integer"}), '{"x": "a"}', '$.x: "a" is not of type "integer"'),
        (one({"type": "array", "items": {"enum": ["a"]}}), '{"x": ["a", "b"]}', "$.x[1]: "),
        ({"type": "object", "required": ["x"]}, "{}", '$: "x" is a required property'),
        (one({"type": "integer"}), '{"x": 9223372036854775808}', "$.x: 9223372036854775808 does not fit"),
        (one({"type": "integer"}), f'{{"x": 1{"0" * 40}}}', "$.x: "),
        (one({"type": "number"}), '{"x": 9007199254740993}', "$.x: 9007199254740993 does not fit"),
        (one({"type": "number"}), '{"x": 1e999}', "not JSON: "),
        (one({}), '{"x": 1', "not JSON: "),
        (one({}), '```json\n{"x": 1\n```', "not JSON: "),
        (one({}), "[" * 100_000, "not JSON: "),
        (one({}), "", "not JSON: the answer is empty"),
        ({"properties": {"x": {}}}, "[]", "$: is not an object"),
        (one({}), None, "the answer holds no text"),
    ],
)
def test_a_problem_is_one_line_with_the_path_and_the_reason(
    schema: dict[str, Any], text: str | None, problem: str
) -> None:
    value, found = AnswerChecker(schema).check(text)
    assert value is None
    assert found is not None
    assert found.startswith(problem)
    assert "\n" not in found


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nope"},
        {"$ref": "#/$defs/gone"},
        {"$ref": "http://127.0.0.1:9/x"},
        {"type": "string", "pattern": "("},
    ],
)
def test_a_schema_that_is_none_is_a_config_error_at_once(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^prompt\.schema [^\n]+$"):
        AnswerChecker(schema)


PARTS: dict[str, Any] = {
    "s": {"type": ["string", "null"]},
    "i": {"type": "integer"},
    "n": {"type": "number"},
    "b": {"type": "boolean"},
    "l": {"type": "array", "items": {"type": "object", "properties": {"i": {"type": "integer"}}}},
    "any": {},
}
WHOLE = {"type": "object", "properties": PARTS, "additionalProperties": False}
values = st.fixed_dictionaries(
    {},
    optional={
        "s": st.none() | st.text(),
        "i": st.integers(-(2**63), 2**63 - 1),
        "n": st.floats(allow_nan=False, allow_infinity=False),
        "b": st.booleans(),
        "l": st.lists(st.fixed_dictionaries({}, optional={"i": st.integers(-9, 9)}), max_size=3),
        "any": st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=5),
    },
)


@given(st.lists(values, min_size=1, max_size=5))
def test_what_the_checker_accepts_survives_arrow(rows: list[dict[str, Any]]) -> None:
    checker = AnswerChecker(WHOLE)
    checked = [checker.check(json.dumps(row)) for row in rows]
    assert [problem for _, problem in checked] == [None] * len(rows)
    back = arrow_columns.build([value for value, _ in checked], checker.type).to_pylist()
    for row, got in zip(rows, back, strict=True):
        for name in ("s", "i", "n", "b"):
            assert got[name] == row.get(name)
        assert json.loads(got["any"] or "null") == row.get("any")
        wanted = row.get("l")
        assert got["l"] == (None if wanted is None else [{"i": item.get("i")} for item in wanted])


@given(st.lists(st.none() | st.text(), max_size=20))
def test_string_columns_hold_what_they_were_given(rows: list[str | None]) -> None:
    assert arrow_columns.strings(rows).to_pylist() == rows
    if rows:
        assert arrow_columns.few_strings(rows).to_pylist() == rows
