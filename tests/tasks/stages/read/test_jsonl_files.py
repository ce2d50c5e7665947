"""JSON Lines: types over the whole file, one object a line, no digit lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from configs.job import Source
from tasks.stages.prompt.values import to_python
from tasks.stages.read import Dataset, jsonl_lines, open_dataset


def opened(path: Path, content: str | bytes, **options: Any) -> Dataset:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_dataset(Source(path=str(path), **options))


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for batch in dataset.batches() for row in batch.to_pylist()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('{"a":1}\n{"a":2.5}\n', [{"a": 1.0}, {"a": 2.5}]),
        ('{"a":1}\n{"b":"x"}\n{}\n', [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": None, "b": None}]),
        ('{"a":"2024-01-01"}\n', [{"a": "2024-01-01"}]),
        ('{"a":["2024-01-01"],"b":{"c":"2024-01-01T00:00:00"}}', [{"a": ["2024-01-01"], "b": {"c": "2024-01-01T00:00:00"}}]),
        ('{"a":"x\u2028y\u0085z\\u0000"}\n', [{"a": "x\u2028y\u0085z\x00"}]),
        ('\ufeff{"a":1}\r\n\r\n  \n{"a":2}', [{"a": 1}, {"a": 2}]),
        ('{"a":9223372036854775807}\n{"a":-9223372036854775808}\n', [{"a": 2**63 - 1}, {"a": -(2**63)}]),
        ('{"a":9007199254740992}\n{"a":0.5}\n', [{"a": 9007199254740992.0}, {"a": 0.5}]),
        ('{"a":1e300}\n', [{"a": 1e300}]),
        ('{"a":null}\n', [{"a": None}]),
        ('{"a":[]}\n{"a":[{"b":1}]}\n{"a":[{"c":true}]}', [{"a": []}, {"a": [{"b": 1, "c": None}]}, {"a": [{"b": None, "c": True}]}]),
        ('{"a":{}}\n', [{"a": {"_empty": None}}]),  # templates see {}: test_values.py
    ],
)  # fmt: skip
def test_values_come_back(file: Path, content: str, rows: list[dict[str, Any]]) -> None:
    dataset = opened(file, content)
    assert rows_of(dataset) == rows
    assert not any(pa.types.is_null(type_) for type_ in dataset.schema.types)


objects = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(st.characters(codec="utf-8"), max_size=12) | st.none(),
        "whole": st.integers(-(2**63), 2**63 - 1) | st.none(),
        "number": st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.booleans(),
        "tags": st.lists(st.text(st.characters(codec="utf-8"), max_size=3) | st.none(), max_size=3),
        "nested": st.fixed_dictionaries({"x": st.integers(0, 9) | st.none()}),
    },
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(objects, min_size=1, max_size=30).filter(any), ascii_only=st.booleans())
def test_what_json_writes_comes_back_over_any_number_of_blocks(
    file: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], ascii_only: bool
) -> None:
    monkeypatch.setattr(jsonl_lines, "_BLOCK", 100)
    content = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    dataset = opened(file, content)
    names = dataset.schema.names
    assert rows_of(dataset) == [{name: row.get(name) for name in names} for row in rows]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("[1]", "not an object"),
        ('"x"', "not an object"),
        ("nope", "Expecting value at character 1"),
        ('{"a":1,}', "at character 8"),
        ('{"a":1}{"a":2}', "Extra data at character 8"),
        ('{"a":1,"a":2}', "twice"),
        ('{"b":"\\ud800"}', "surrogate"),
        ('{"b":"\udcff"}', "not UTF-8 text at byte 7"),
        ('{"a":', "Expecting value"),
    ],
)
def test_a_line_that_is_no_object_stops_or_is_counted(file: Path, bad: str, reason: str) -> None:
    content = f'{{"a":1}}\n\n{bad}\n{{"a":3}}\n'.encode("utf-8", "surrogateescape")
    with pytest.raises(InputError, match=r"a\.jsonl: line 3: ") as caught:
        opened(file, content)
    assert reason in str(caught.value)
    dataset = opened(file, content, bad_lines="skip")
    assert [row["a"] for row in rows_of(dataset)] == [1, 3]
    assert dataset.bad_line_count == 1
    assert [(line.line, reason in line.reason) for line in dataset.bad_lines] == [(3, True)]


@pytest.mark.parametrize(
    ("encoding", "likely"), [("cp1252", "cp1252"), ("utf-16", "utf-16"), ("shift_jis", "shift_jis")]
)
def test_a_file_in_another_encoding_names_it(file: Path, encoding: str, likely: str) -> None:
    text = "これは日本語です" if encoding == "shift_jis" else "Zoë"
    with pytest.raises(InputError) as caught:
        opened(file, f'{{"a":"{text}"}}\n'.encode(encoding))
    assert f"it looks like {likely}: write the file as UTF-8 (iconv -f {likely} -t utf-8)" in str(
        caught.value
    )


@pytest.mark.parametrize("gap", [0, 200])
@pytest.mark.parametrize(
    ("first", "second", "field", "what"),
    [
        ("x", 1, "a", "is a number, but text before"),
        (1, True, "a", "is true or false, but a number before"),
        ({"b": [1]}, {"b": ["x"]}, "a.b[]", "is text, but a number before"),
        ({"b": 1}, [1], "a", "is an array, but an object before"),
        ([{"c": "hi"}, {"c": [{"t": None}]}], None, "a[].c", "is an array, but text before"),
        ([1, "x", None], [], "a[]", "is text, but a number before"),
        ("2\u2028", 12345678901234567890123, "a", "is a number, but text before"),
    ],
)
def test_a_field_of_several_types_is_json_text_and_is_said(
    file: Path, monkeypatch: pytest.MonkeyPatch, first: Any, second: Any, field: str, what: str, gap: int
) -> None:
    monkeypatch.setattr(jsonl_lines, "_BLOCK", 500)
    lines = [{"a": first}, *[{"z": 1}] * gap, {"a": second}]
    dataset = opened(file, "".join(json.dumps(line) + "\n" for line in lines))
    assert dataset.notes == (
        f"field {field!r} {what}: kept as JSON text, of which templates see what it says",
    )
    values = [
        value
        for batch in dataset.batches(100)
        for value in to_python(batch.column("a"), batch.schema.field("a"))
    ]
    assert [value for value in values if value is not None] == [
        value for value in (first, second) if value is not None
    ]


def test_a_key_of_several_types_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match=r"source.key names 'a', which is text in some rows"):
        opened(file, '{"a":"x"}\n{"a":1}\n', key="a")


def test_bad_lines_are_found_among_fields_of_several_types(file: Path) -> None:
    content = '{"a":"x"}\n{"a":[1]}\n{"a":\n{"a":1,"a":2}\n\n[1]\n{"a":null}\n'
    with pytest.raises(InputError, match="line 3"):
        opened(file, content)
    dataset = opened(file, content, bad_lines="skip")
    assert rows_of(dataset) == [{"a": '"x"'}, {"a": "[1]"}, {"a": None}]
    assert sorted(line.line for line in dataset.bad_lines) == [3, 4, 6]


@pytest.mark.parametrize(
    ("lines", "line", "field"),
    [
        (['{"a":1}', '{"a":18446744073709551616}'], 2, "a"),
        (['{"a":9223372036854775808}'], 1, "a"),
        (['{"a":{"b":[1, 100000000000000000000000]}}'], 1, "a.b[]"),
        (['{"a":9007199254740993}', '{"a":0.5}'], 1, "a"),
        (['{"a":0.5}', '{"a":9007199254740993}'], 2, "a"),
        (['{"a":1}', '{"a":9007199254740993}', *['{"z":1}'] * 200, '{"a":0.5}'], 2, "a"),
    ],
)
def test_a_whole_number_never_becomes_a_rounded_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], line: int, field: str
) -> None:
    monkeypatch.setattr(jsonl_lines, "_BLOCK", 500)
    with pytest.raises(
        InputError, match=f"line {line}: field '{field.replace('[]', '..')}' holds a whole number"
    ):
        opened(file, "\n".join(lines))


@pytest.mark.parametrize("content", ["", "\n \n", "{}\n{}\n"])
def test_a_file_without_fields_is_refused(file: Path, content: str) -> None:
    with pytest.raises(InputError, match="has no rows"):
        opened(file, content)


def test_fields_of_all_files_are_columns(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text('{"a":1}\n')
    (tmp_path / "2.ndjson").write_text('{"b":"x","a":0.5}\n')
    (tmp_path / "3.jsonl").write_text("")
    dataset = open_dataset(Source(path=str(tmp_path)))
    assert rows_of(dataset) == [{"a": 1.0, "b": None}, {"a": 0.5, "b": "x"}]


def test_only_the_columns_asked_for_are_read(file: Path) -> None:
    dataset = opened(file, '{"a":1,"b":2,"c":3}\n', columns=["c"], key="a")
    assert dataset.carried == ("c",)
    assert rows_of(dataset) == [{"c": 3, "a": 1}]


def test_a_line_larger_than_a_block_is_read(file: Path) -> None:
    huge = "x" * 3_000_000
    rows = [{"a": "1"}, {"a": huge}, {"a": "2"}]
    assert rows_of(opened(file, "\n".join(map(json.dumps, rows)))) == rows


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}"), ("[", ""), ('{"a":', "")])
@pytest.mark.parametrize("levels", [201, 2_000, 300_000])
def test_what_is_nested_beyond_what_can_be_read_is_one_line(
    file: Path, open_: str, close: str, levels: int
) -> None:
    content = '{"a":1}\n{"a":' + open_ * levels + "1" + close * levels + "}\n"
    with pytest.raises(
        InputError, match="line 2: nested more than 200 levels deep; write the inner value as"
    ):
        opened(file, content)
    skipped = opened(file, content, bad_lines="skip")
    assert rows_of(skipped) == [{"a": 1}]
    assert skipped.bad_line_count == 1


def test_deep_values_and_brackets_in_texts_are_read(file: Path) -> None:
    deep = "[" * 199 + "1" + "]" * 199
    texts = ["[{" * 500, '\\"[' * 500, "x"]
    lines = [
        '{"a":"x","t":""}',
        f'{{"a":{deep},"t":""}}',
        *(json.dumps({"a": "y", "t": text}) for text in texts),
    ]
    rows = rows_of(opened(file, "\n".join(lines)))
    assert [row["a"] for row in rows] == ['"x"', deep, '"y"', '"y"', '"y"']
    assert [row["t"] for row in rows] == ["", "", *texts]


def test_a_file_that_changed_type_after_it_was_opened_is_refused(file: Path) -> None:
    dataset = opened(file, '{"a":1}\n')
    file.write_text('{"a":"x"}\n')
    with pytest.raises(InputError, match="line 1: field 'a' is text, but a number before"):
        rows_of(dataset)
