"""Values that are sent as something else than text, and what a row is told whose value cannot be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest

from tasks.stages.prompt.render import CUSTOM_ID, Renderer, Skip, Template, templated_param
from tasks.stages.prompt.values_sent import SentAs, typed_filter


def sent(template: Template, value: Any, kind: pa.DataType | None = None) -> Any:
    batch = pa.record_batch({"x": pa.array([value], kind)})
    [line] = Renderer({"id": CUSTOM_ID, "v": template}, ("x",)).lines(batch, ["a"])
    return line.message if isinstance(line, Skip) else orjson.loads(line)["v"]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("{{ x | float }}", 0.2, 0.2),
        ("{{ x | float }}", 1, 1.0),
        ("{{ x | float }}", "0.5", 0.5),
        ("{{ x | float }}", Decimal("0.10"), 0.1),
        (" {{ x | float }}\n", 0.2, 0.2),
        ("{{ x | int }}", 7, 7),
        ("{{ x | int }}", 2**62 + 1, 2**62 + 1),
        ("{{ x | int }}", 7.0, 7),
        ("{{ x | int(3) }}", "no number", 3),
        ("{{ x | bool }}", True, True),
        ("{{ x | bool }}", "False", False),
        ("{{ x | bool }}", 1, True),
        ("{{ x | bool }}", 0.0, False),
        ("{{ x | tojson }}", [1, 2], [1, 2]),
        ("{{ x | tojson(indent=2) }}", {"a": None}, {"a": None}),
        ("{{ x | tojson }}", "text", "text"),
        ("{{ x | default(0.5, true) | float }}", None, 0.5),
        ("{{ (x * 2) | int }}", 4, 8),
        ("{% if x %}{{ x | int }}{% endif %}", 4, "4"),
        ("{{ x }}", 4, "4"),
        ("{{ x | int }} tokens", 4, "4 tokens"),
        ("{{ x }}{{ x | int }}", 4, "44"),
    ],
)
def test_a_parameter_keeps_the_type_its_last_filter_names(text: str, value: Any, expected: Any) -> None:
    kind = pa.float64() if value is None else None
    found = sent(templated_param(text, "p"), value, kind)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ x | float }}", "warm"),
        ("{{ x | float }}", None),
        ("{{ x | float }}", float("inf")),
        ("{{ x | int }}", 0.5),
        ("{{ x | int }}", ""),
        ("{{ x | bool }}", "maybe"),
    ],
)
def test_a_value_of_another_type_skips_its_row(text: str, value: Any) -> None:
    message = sent(templated_param(text, "p"), value, pa.float64() if value is None else None)
    assert message.startswith("p line 1: column 'x': ")
    assert "default" in message


@pytest.mark.parametrize(
    ("sent_as", "value", "expected"),
    [
        (SentAs.NUMBER, 0.5, 0.5),
        (SentAs.NUMBER, Decimal("0.50"), 0.5),
        (SentAs.NUMBER, "0.5", "p line 1: column 'x': '0.5' is not a number; write {{ x | float }} to read it as one"),
        (SentAs.NUMBER, True, "p line 1: column 'x': 'true' is not a number; write {{ x | float }} to read it as one"),
        (SentAs.WHOLE, 7, 7),
        (SentAs.WHOLE, "7", "p line 1: column 'x': '7' is not a whole number; write {{ x | int }} to read it as one"),
        (SentAs.TRUTH, True, True),
        (SentAs.TRUTH, "true", "p line 1: column 'x': 'true' is not true or false; write {{ x | bool }} to read it as one"),
        (SentAs.TYPED, "0.5", "0.5"),
    ],
)  # fmt: skip
def test_json_of_a_text_is_not_sent_where_something_else_is_due(
    sent_as: SentAs, value: Any, expected: Any
) -> None:
    assert sent(templated_param("{{ x | tojson }}", "p", {"": sent_as}), value) == expected


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("{{ x | float }}", "0.50", "0.5"),
        ("{{ x | float }}", True, "1.0"),
        ("{{ x | int }}", "7", "7"),
        ("{{ x | int }}", "7.9", "7"),
        ("{{ x | int }}", -7.9, "-7"),
        ("{{ x | int(base=16) }}", "ff", "255"),
        ("{{ x | float(default=1.5) }}", "much", "1.5"),
        ("{{ x | int(3) }}", None, "3"),
        ("{{ (row.x | float) * 2 }}", "1.5", "3.0"),
        ("{{ x | float }}", "much", "t line 1: column 'x': 'much' is no float; write {{ x | float(default=...) }} for such rows"),
        ("{{ x | float }}", None, "t line 1: column 'x': the value is empty; write {{ x | float(default=...) }} for such rows"),
        ("{{ x | float }}", float("nan"), "t line 1: column 'x': the value is empty; write {{ x | float(default=...) }} for such rows"),
        ("{{ row['x'] | int }}", "1,5", "t line 1: column 'x': '1,5' is no int; write {{ x | int(default=...) }} for such rows"),
        ("{{ [x] | map('int') | sum }}", "", "t line 1: the value is empty; write {{ column | int(default=...) }} for such rows"),
    ],
)  # fmt: skip
def test_in_a_prompt_what_is_no_number_is_an_error_of_its_row_and_not_0(
    text: str, value: Any, expected: str
) -> None:
    kind = pa.string() if value is None else None
    assert sent(Template(text, "t"), value, kind) == expected


@pytest.mark.parametrize(
    "text", ["{{ x", "{{ x | length }}", "{{ x | int | string }}", "int", "{# x | int #}"]
)
def test_anything_else_is_text(text: str) -> None:
    assert typed_filter(text) is None


@pytest.mark.parametrize(
    ("sent_as", "value", "expected"),
    [
        (SentAs.TOKENS, [15339, 1917], [15339, 1917]),
        (SentAs.TOKENS, "text", "text"),
        (SentAs.TOKENS, None, ""),
        (SentAs.TOKENS, ["a", "b"], "token ids"),
        (SentAs.TOKENS, [], "token ids"),
        (SentAs.TOKENS, [[1], [2]], "token ids"),
        (SentAs.NO_TOKENS, [15339, 1917], "not taken"),
        (SentAs.NO_TOKENS, ["a"], '["a"]'),
        (SentAs.TOKENS, [-1], "token ids"),
        (SentAs.TOKENS, [1.0, 2.0], "token ids"),
        (SentAs.EMBEDDED, [15339, 1917], [15339, 1917]),
        (SentAs.EMBEDDED, "text", "text"),
        (SentAs.EMBEDDED, " ", " "),
        (SentAs.EMBEDDED, "[1]", "[1]"),
        (SentAs.EMBEDDED, "[15339, 1917]", "looks like token ids"),
        (SentAs.EMBEDDED, None, "nothing to embed"),
        (SentAs.NO_TOKENS, None, "nothing to embed"),
        (SentAs.NO_TOKENS, "[15339,1917]", "looks like token ids"),
        (SentAs.NOT_EMPTY, None, "nothing to embed"),
        (SentAs.NOT_BLANK, None, "the text is empty"),
        (SentAs.NOT_BLANK, " \n", "the text is empty"),
        (SentAs.NOT_BLANK, " x", " x"),
        (SentAs.URL, "https://x.test/a.png", "https://x.test/a.png"),
        (SentAs.URL, "data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
        (SentAs.URL, "img/a.png", "a file of this machine"),
        (SentAs.URL, "file:///data/b.png", "a file of this machine"),
        (SentAs.URL, "ftp://x/b.png", "no address"),
        (SentAs.URL, "data:image/png;base64,", "there is no picture"),
        (SentAs.URL, "data:image/png;base64,AAAAA", "holds no base64"),
        (SentAs.URL, "data:image/png;base64,AA AA+==", "holds no base64"),
        (SentAs.URL, "data:image/png,AAAA", "no address of a picture"),
        (SentAs.URL, "data:text/plain;base64,AAAA", "no address of a picture"),
        (SentAs.URL, "data:;base64,AAAA", "no address of a picture"),
        (SentAs.URL, "DATA:IMAGE/JPEG;BASE64,AAA=", "DATA:IMAGE/JPEG;BASE64,AAA="),
        (SentAs.URL, "http://x.test/a", "http://x.test/a"),
        (SentAs.URL, "s3://bucket/a.png", "no address of a picture"),
        (SentAs.URL, "gs://bucket/a.png", "no address of a picture"),
        (SentAs.URL, "C:\\img\\a.png", "a file of this machine"),
        (SentAs.URL, "https:///a.png", "no address of a picture"),
        (SentAs.URL, "nan", "a file of this machine"),
        (SentAs.MEDIA_URL, "data:application/pdf;base64,AAAA", "data:application/pdf;base64,AAAA"),
        (SentAs.MEDIA_URL, "data:;base64,AAAA", "data:;base64,AAAA"),
        (
            SentAs.MEDIA_URL,
            "data:application/pdf;name=a.pdf;base64,AAAA",
            "data:application/pdf;name=a.pdf;base64,AAAA",
        ),
        (SentAs.MEDIA_URL, "a.pdf", "a file of this machine"),
        (SentAs.MEDIA_URL, "data:application/pdf;base64,", "there is no file"),
        (SentAs.URL, None, "there is no picture"),
        (SentAs.HTTPS_URL, "http://x/b.png", "no address"),
        (SentAs.BASE64, None, "no bytes"),
        (SentAs.BASE64, "img/a.png", "no base64"),
        (SentAs.BASE64, "QUJD", "QUJD"),
    ],
)
def test_lists_and_addresses(sent_as: SentAs, value: Any, expected: Any) -> None:
    kind = pa.string() if value is None else pa.list_(pa.int64()) if value == [] else None
    found = sent(Template("{{ x }}", "p", sent_as), value, kind)
    if found == expected:
        return
    assert found.startswith("p line 1: ")
    assert "Error" not in found
    assert any(each in found for each in expected.split("|"))


@pytest.mark.parametrize("text", ["{{ x | tojson }}", "{{ x }}\n", "\n {{ x | tojson(2) }} "])
def test_a_list_is_a_list_however_it_is_written(text: str) -> None:
    assert sent(Template(text, "p", SentAs.TOKENS), [1, 2]) == [1, 2]


def test_a_text_keeps_the_blanks_around_it() -> None:
    assert sent(Template(" {{ x }}\n", "p", SentAs.TOKENS), "a") == " a\n"


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085"])
def test_what_some_readers_take_for_a_line_end_is_escaped(mark: str) -> None:
    renderer = Renderer({"id": CUSTOM_ID, mark: f"“{mark}”", "v": Template("{{ x }}", "p")}, ("x",))
    [line] = renderer.lines(pa.record_batch({"x": [f"a{mark}b…"]}), [f"i{mark}"])
    assert isinstance(line, bytes)
    assert len(line.decode().splitlines()) == 1
    assert orjson.loads(line) == {"id": f"i{mark}", mark: f"“{mark}”", "v": f"a{mark}b…"}


@pytest.mark.parametrize("beside", ["", "“", "✨", "°", "日本"])
@pytest.mark.parametrize("marks", ["", "\u2028", "\u2029", "\u0085", "\u2028\u2029\u0085\u2028"])
def test_it_is_escaped_beside_any_other_character(marks: str, beside: str) -> None:
    [line] = Renderer(Template("{{ x }}", "p"), ("x",)).lines(pa.record_batch({"x": [beside + marks]}), ["i"])
    escaped = "".join(f"\\u{ord(mark):04x}" for mark in marks)
    assert line == f'"{beside}{escaped}"\n'.encode()
