from __future__ import annotations

import json
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError
from configs.prompt import Prompt
from tasks.stages.prompt import render
from tasks.stages.prompt.render import CUSTOM_ID, Renderer, Skip, Template, templated
from tasks.stages.wire.openai.requests import request_tree


def lines_of(tree: Any, **columns: Any) -> list[bytes | Skip]:
    batch = pa.record_batch(columns)
    return Renderer(tree, tuple(columns)).lines(batch, [f"id-{i}" for i in range(batch.num_rows)])


def chat(user: str, system: str | None = None, **params: Any) -> Any:
    return request_tree(Prompt(model="m-1", system=system, user=user, params=params))


def test_lines_are_the_requests_byte_for_byte() -> None:
    found = lines_of(
        chat("{{ a }} & <b>", "100% sure\n", temperature=0.1, n=2, stop=None), a=['日本\n"\u2028', "b"]
    )
    assert found == [
        (
            '{"custom_id":"id-0","method":"POST","url":"/v1/chat/completions","body":{"model":"m-1","messages":'
            '[{"role":"system","content":"100% sure\\n"},{"role":"user","content":"日本\\n\\"\\u2028 & <b>"}],'
            '"temperature":0.1,"n":2,"stop":null}}\n'
        ).encode(),
        (
            b'{"custom_id":"id-1","method":"POST","url":"/v1/chat/completions","body":{"model":"m-1","messages":'
            b'[{"role":"system","content":"100% sure\\n"},{"role":"user","content":"b & <b>"}],'
            b'"temperature":0.1,"n":2,"stop":null}}\n'
        ),
    ]


@given(
    st.lists(st.tuples(st.text(), st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_any_text_and_any_static_tree_arrive_unchanged(
    rows: list[tuple[str, int | None]], static: Any
) -> None:
    tree = {"%s": CUSTOM_ID, "static": static, "again": [CUSTOM_ID, Template("{{ t }}%{{ n }}"), "%b"]}
    texts, numbers = [row[0] for row in rows], [row[1] for row in rows]
    found = lines_of(tree, t=pa.array(texts, pa.string()), n=pa.array(numbers, pa.int64()))
    for i, (line, (text, number)) in enumerate(zip(found, rows, strict=True)):
        said = f"{text}%{'' if number is None else number}"
        assert line.endswith(b"}\n")
        expected = {"%s": f"id-{i}", "static": static, "again": [f"id-{i}", said, "%b"]}
        if not _infinite(static):
            assert json.loads(line) == expected


def _infinite(value: Any) -> bool:
    return "Infinity" in json.dumps(value)


@pytest.mark.parametrize("tree", [{"a": "static 100%"}, [], "x", {"id": CUSTOM_ID}])
def test_trees_without_a_template_work(tree: object) -> None:
    found = lines_of(tree, a=[1, 2])
    assert len(found) == 2
    assert all(line.endswith(b"\n") and orjson.loads(line) is not None for line in found)
    assert Renderer(tree, ("a",)).columns == ()


def test_a_template_without_a_column_says_the_same_for_every_row() -> None:
    assert lines_of(Template("{{ 1 + 1 }}"), a=[1, 2]) == [b'"2"\n', b'"2"\n']


def test_no_rows_make_no_lines() -> None:
    assert lines_of(chat("{{ a }}"), a=pa.array([], pa.string())) == []


def test_columns_are_those_the_templates_read_in_the_datasets_order() -> None:
    assert Renderer(chat("{{ c }}{{ row['a'] }}", "{{ b }}"), ("a", "b", "c", "d")).columns == ("a", "b", "c")


@pytest.mark.parametrize(
    "bad", [set(), {0}, {1_023}, {5, 6, 500}, set(range(0, 1_024, 7)), set(range(1_024))]
)
def test_only_the_rows_at_fault_are_skipped(bad: set[int]) -> None:
    numbers = [0 if i in bad else 1 for i in range(1_024)]
    found = lines_of([CUSTOM_ID, Template("{{ 1 // n }}", "prompt.user")], n=numbers)
    assert {i for i, line in enumerate(found) if isinstance(line, Skip)} == bad
    for i, line in enumerate(found):
        if i in bad:
            assert line == Skip(
                "template_error",
                "prompt.user line 1: ZeroDivisionError: integer division or modulo by zero",
            )
        else:
            assert line == f'["id-{i}","1"]\n'.encode()


def test_a_lone_surrogate_from_a_template_skips_its_row() -> None:
    [bad, good] = lines_of(Template("{{ '\\ud800' if n else 'ok' }}"), n=[1, 0])
    assert isinstance(bad, Skip)
    assert "surrogates not allowed" in bad.message
    assert good == b'"ok"\n'


def test_binary_skips_its_row_unless_it_is_encoded() -> None:
    blobs = pa.array([b"\xff\x00", None], pa.binary())
    [skipped, empty] = lines_of(Template("{{ a }}"), a=blobs)
    assert isinstance(skipped, Skip)
    assert "b64encode" in skipped.message
    assert empty == b'""\n'
    assert lines_of(Template("data:image/png;base64,{{ a | b64encode }}"), a=blobs[:1]) == [
        b'"data:image/png;base64,/wA="\n'
    ]


def test_cells_python_cannot_hold_skip_only_their_rows() -> None:
    far = pa.array([0, 2**62], pa.int64()).cast(pa.timestamp("us"))
    not_utf8 = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    for column in (far, not_utf8):
        [good, bad] = lines_of(Template("{{ a }}"), a=column)
        assert isinstance(good, bytes)
        assert isinstance(bad, Skip)
        assert bad.message.startswith("column 'a': ")


@pytest.mark.parametrize("columns", [{"b": [1]}, None])
def test_a_part_without_a_used_column_is_refused(columns: dict[str, Any] | None) -> None:
    batch = (
        pa.record_batch(columns)
        if columns
        else pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    )
    renderer = Renderer(Template("{{ a }}"), ("a",))
    with pytest.raises(InputError, match="column 'a' is missing or twice"):
        renderer.lines(batch, ["x"])


def test_the_first_prompt_is_what_people_read() -> None:
    renderer = Renderer(chat("Hello\n{{ a }}", "You are {{ b }}"), ("a", "b"))
    batch = pa.record_batch({"a": ["é", None], "b": [True, None]})
    assert renderer.preview(batch) == [("prompt.system", "You are true"), ("prompt.user", "Hello\né")]
    assert renderer.preview(batch.slice(0, 0)) == []


def test_a_first_prompt_that_fails_says_why() -> None:
    found = Renderer(chat("{{ 1 // a }}"), ("a",)).preview(pa.record_batch({"a": [0]}))
    assert isinstance(found, Skip)
    assert found.message.startswith("prompt.user line 1: ZeroDivisionError")


def test_an_unknown_column_is_refused_before_any_row_is_read() -> None:
    with pytest.raises(ConfigError, match=r"^prompt\.user line 2: .* 'titel'; did you mean 'title'\?$"):
        Renderer(chat("x\n{{ titel }}"), ("title", "body"))


def test_a_leaf_that_is_no_json_is_named() -> None:
    with pytest.raises(ConfigError, match="request body: 18446744073709551616 cannot be sent as JSON"):
        Renderer({"seed": 2**64}, ())


@pytest.mark.parametrize("text", ["{{ a }}", "{% if a %}{% endif %}", "{# a #}"])
def test_strings_with_template_syntax_become_named_templates(text: str) -> None:
    tree = templated({"x": [text, "plain", "{ }", 5, None]}, "p")
    assert tree == {"x": [Template(text), "plain", "{ }", 5, None]}
    assert tree["x"][0].name == "p.x[0]"


def test_a_row_with_a_cell_beyond_the_limit_is_skipped_and_the_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(render, "MAX_ROW_BYTES", 1_000)
    batch = pa.record_batch({"a": ["x", "y" * 2_000, "z"], "b": ["u" * 2_000] * 3})
    first, second, third = Renderer({"p": Template("{{ a }}")}, ["a", "b"]).lines(batch, ["1", "2", "3"])
    assert (first, third) == (b'{"p":"x"}\n', b'{"p":"z"}\n')
    assert isinstance(second, Skip)
    assert second.code == "row_too_large"
    preview = Renderer({"p": Template("{{ a }}")}, ["a", "b"]).preview(batch.slice(1))
    assert isinstance(preview, Skip)
    assert preview.code == "row_too_large"
