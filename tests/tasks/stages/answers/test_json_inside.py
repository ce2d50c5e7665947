"""Answers of models that are bound to no schema: the one JSON in them is found, and anything else says what it is."""

from __future__ import annotations

import pytest

from tasks.stages.answers.json_inside import NotJSON, json_inside
from tasks.stages.answers.schema import AnswerChecker

JSON, OTHER = '{"x":"a"}', '{"x":"b"}'
SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "string"}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "around"),
    [
        (JSON, None),
        (f" {JSON}\n", None),
        (f"```json\n{JSON}\n```", "a fence"),
        (f"```\n{JSON}\n```\n", "a fence"),
        (f"~~~json\n{JSON}\n~~~", "a fence"),
        (f"```JSON\r\n{JSON}\r\n```", "a fence"),
        (f"Here it is:\n\n```json\n{JSON}\n```\nAnything else?", "a fence"),
        (f"  ```json\n  {JSON}\n  ```", "a fence"),
        (f"\ufeff{JSON}", "a byte order mark"),
        (f"<think>hm {{1}}</think>\n{JSON}", "a thought"),
        (f"hm</think>\n\n{JSON}", "a thought"),
        (f"\ufeff<think>hm</think>\n```json\n{JSON}\n```", "a byte order mark and a thought and a fence"),
        ('{"x":"```\\n"}', None),
        (f"<think>perhaps ```json\n{OTHER}\n```</think>\n{JSON}", "a thought"),
        (f"<think>a</think><think>b</think>{JSON}", "a thought"),
        (f"[THINK]hm[/THINK]{JSON}", "a thought"),
        (f"<reasoning>hm</reasoning>\n```json\n{JSON}\n```", "a thought and a fence"),
        (f"\u200b{JSON}", "blanks"),
        (f"```json {JSON} ```", "a fence"),
        (f"```{JSON}```", "a fence"),
        (f"```json\n{JSON}```", "a fence"),
        (f"```json\n{JSON}", "a fence"),
        (f"`{JSON}`", "other text"),
        (f"json\n{JSON}", "other text"),
        (f"The answer is {JSON}", "other text"),
        (f"{JSON}\n\nAnything else?", "other text"),
        (f"Of {{x}} and [see below]: {JSON}.", "other text"),
        (f"```python\nx = 1\n```\n```json\n{JSON}\n```", "a fence"),
        (f"Instead of {OTHER}:\n```json\n{JSON}\n```", "a fence"),
        ('```json\n{"x":"```\\n{}"}\n```', "a fence"),
    ],
)
def test_the_only_json_is_taken(text: str, around: str | None) -> None:
    if JSON in text:
        assert json_inside(text) == ({"x": "a"}, around)
    checker = AnswerChecker(SCHEMA)
    assert checker.check(text)[1] is None
    remark = checker.remark(text)
    assert (around in remark) if around and remark else remark is around


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("\ufeff", "a byte order mark|empty|thought"),
        ("<think>hm</think>", "only a thought"),
        (f"```json\n{JSON}\n```\n```json\n{JSON}\n```", "2 fenced blocks"),
        ("sure: x", "not JSON: .*begins 'sure: x'"),
        ('{"x":"', "not JSON: "),
        ("```json\n{x}\n```", "not JSON: "),
        (f"{JSON}\n{JSON}", "several pieces"),
        (f"{OTHER} or {JSON}", "several pieces"),
        (f"As [1] says: {JSON}", "several pieces"),
        ("<think>hm", "only a thought"),
        ("hm</think>\n", "only a thought"),
        (f"<think>hm {JSON}", "only a thought"),
        ('{"x":"a",}', "not JSON: .*trailing comma"),
        ('It is {"y": {"x":"a"}, "z', "not JSON: .*begins 'It is"),
        ("{'x': 'a'}", "not JSON: "),
        ("[" * 100_000, "not JSON: "),
    ],
)
def test_anything_else_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(NotJSON, match=says):
        json_inside(text)
    value, problem = AnswerChecker(SCHEMA).check(text)
    assert value is None
    assert problem
    assert "\n" not in problem
    assert "truncated" not in problem or text.startswith(('{"x":"', "It is {"))


@pytest.mark.parametrize(
    "text", ['{"answer":[{"x":"a"}]}', '[{"x":"a"}]', '```\n{"answer":[{"x":"a"}]}\n```']
)
def test_an_answer_is_taken_out_of_the_object_put_around_its_schema(text: str) -> None:
    assert AnswerChecker({"type": "array", "items": SCHEMA}).check(text) == ([{"x": "a"}], None)


def test_an_object_of_ones_own_is_not_taken_apart() -> None:
    schema = {**SCHEMA, "properties": {"answer": SCHEMA}, "required": ["answer"]}
    assert AnswerChecker(schema).check('{"answer":{"x":"a"}}') == ({"answer": {"x": "a"}}, None)
