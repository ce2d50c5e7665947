from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from rigs.given_cells import GivenCells
from tasks.stages.prompt import templates, values
from tasks.stages.prompt.cells import Cells
from tasks.stages.prompt.row_errors import RowError
from tasks.stages.prompt.row_limits import BUDGET, Budget
from tasks.stages.prompt.templates import RowTemplate

COLUMNS = ("name", "text", "n", "price", "tags", "flag", "loop", "unit price", "range")

AWKWARD = [
    "",
    "\n",
    "no variables at all",
    "{# only a comment #}",
    "{{ text }}",
    "{{ text }}\n\n",
    "  {{ text }}  ",
    "100% {{ text }} %s {{ '%s %%'|format(n) }}",
    "{{ text }}{{ text }}{{ name }}",
    "{% set x = text %}{{ x }}",
    "{% set text = text|upper %}{{ text }}",
    "{% if n > 3 %}{% set x = 'big' %}{% endif %}{{ x is defined }}",
    "{% if n > 3 %}{% set name = 'big' %}{% endif %}{{ name }}",
    "{% if not flag %}{% set text = 'none given' %}{% endif %}{{ text }}",
    "{% set ns = namespace(total=0) %}{% for i in [n, n] %}{% set ns.total = ns.total + i %}{% endfor %}{{ ns.total }}",
    "{% for tag in tags %}{{ loop.index }}/{{ loop.length }} {{ tag }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for tag in tags if tag != 'b' %}{{ tag }}{% else %}no tags{% endfor %}",
    "{% for tag in tags %}{% for other in tags %}{{ loop.index }}{{ tag }}{{ other }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for text in tags %}{{ text }}{% endfor %}{{ text }}",
    "{% for a in [tags] recursive %}{% if a is string %}{{ a }}{% else %}[{{ loop(a) }}]{% endif %}{% endfor %}",
    "{% macro m(x, y=2) %}<{{ x }}{{ y }}{{ text }}>{% endmacro %}{{ m(n) }}{{ m(n, y=name) }}",
    "{% macro m() %}{{ caller() }}!{% endmacro %}{% call m() %}{{ text }}{% endcall %}",
    "{% macro m() %}{{ varargs|length }}{{ kwargs|length }}{% endmacro %}{{ m(1, 2, a=3) }}",
    "{% filter upper %}{{ text }}{% endfilter %}",
    "{% set x %}block {{ text }}{% endset %}{{ x|length }}{{ x }}",
    "{% with a = n %}{{ a }}{% with a = name %}{{ a }}{% endwith %}{{ a }}{% endwith %}",
    "{% raw %}{{ text }}{% endraw %}",
    "{{ '{{ text }}' }}",
    "{%- if n -%}  {{ text }}  {%- endif -%}  x",
    "{% block b %}{{ text }}{% endblock %}{{ self.b() }}",
    "{% block a %}{{ text }}{% block b scoped %}{{ name }}{% endblock %}{% endblock %}",
    "{% autoescape true %}{{ text }}{{ '<b>'|safe }}{{ '<i>' }}{% endautoescape %}{{ text }}",
    "{{ text|e }}",
    "{{ loop }}",
    "{% for tag in tags %}{{ loop.index }}{% endfor %}{{ loop }}",
    "{{ range }}",
    "{% for tag in tags %}{{ cycler('a', 'b').next() }}{% endfor %}",
    "{% set j = joiner() %}{% for tag in tags %}{{ j() }}{{ tag }}{% endfor %}",
    "{{ dict(a=n).a }}{{ text.split('a')|length }}{{ text[0:2] }}{{ text[::-1] }}",
    "{{ tags|sort|join('|') }}{{ tags|first|default('-', true) }}",
    "{{ price }}{{ flag }}{{ n }}{{ tags }}{{ none }}{{ 1.50 }}{{ [1, 'é'] }}",
    "{{ 10 // n }}",
    "{{ tags[5] }}",
    "{{ text.nope }}",
    "{{ text.nope|default('d') }}{{ tags[5] is defined }}",
    "{{ n + text }}",
    "{{ text.__class__ }}",
    "{{ '\\ud800' if n == 3 else 'fine' }}",
    "{% if n == 0 %}{{ text|nonexistent }}{% endif %}x",
    "\u2028{{ text }}\u0085\r\n\x00",
    "{% set x = x0 if false else text %}{{ x }}{% set x0 = 1 %}",
]

ROWS = [
    {
        "name": name,
        "text": text,
        "n": n,
        "price": price,
        "tags": tags,
        "flag": flag,
        "loop": "L",
        "unit price": 9,
        "range": "R",
    }
    for name, text, n, price, tags, flag in [
        ("a", "hello <b> & 'q'", 3, 1.5, ["a", "b"], True),
        (None, '日本語 😀 \u2028 \n \\ "', 0, None, [], False),
        ("zed", "", 7, 0.1, ["b"], None),
        ("a", None, -1, float("nan"), None, True),
        ("%", "{{ n }} {% if %}", 4, 1e300, ["x", None], False),
    ]
]


def one_at_a_time(text: str, row: dict[str, Any]) -> Any:
    """What plain Jinja2 with the same rules makes of the row; the exception's type where it fails."""
    try:
        return orjson.dumps(templates._environment().from_string(text).render(row | {BUDGET: Budget()}))
    except Exception as error:
        return type(error)


def in_a_batch(text: str, rows: list[dict[str, Any]]) -> Any:
    template = RowTemplate(text, "t", COLUMNS)
    values = {column: [row[column] for row in rows] for column in COLUMNS}
    try:
        return template.render(GivenCells(values), len(rows))
    except RowError as error:
        return type(error.__cause__)


def check_equal(text: str, rows: list[dict[str, Any]]) -> None:
    expected = [one_at_a_time(text, row) for row in rows]
    assert [in_a_batch(text, [row]) for row in rows] == [
        each if isinstance(each, type) else [each] for each in expected
    ]
    good = [row for row, each in zip(rows, expected, strict=True) if not isinstance(each, type)]
    assert in_a_batch(text, good * 2) == [each for each in expected if not isinstance(each, type)] * 2


@pytest.mark.parametrize("text", AWKWARD)
def test_a_batch_renders_as_its_rows_would_one_at_a_time(text: str) -> None:
    check_equal(text, ROWS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing but text, 100 % of it",
        "{# only a comment #}{% raw %}{{ text }}{% endraw %}",
        "{{ text }}",
        '%s "{{ name }}"\n\\ {{ text }} {{ row["unit price"] }}{{ row.flag }}{{ text }} \u2028é\n\n',
        "{{ n }} {{- price -}} {{ loop }} {{ tags }}",
    ],
)
def test_a_template_that_only_prints_columns_is_filled_without_jinja2(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [one_at_a_time(text, row | {"row": row}) for row in ROWS]
    monkeypatch.setattr(RowTemplate, "_render_batch", None)
    cells = Cells(pa.RecordBatch.from_pylist(ROWS), COLUMNS)
    assert RowTemplate(text, "t", COLUMNS).render(cells, len(ROWS)) == expected


@pytest.mark.parametrize(
    ("text", "line"), [("a\n{{ blob }}", 2), ("{{ n }}{{ row['blob'] }}", 1), ("\ud800{{ n }}", 1)]
)
def test_what_cannot_be_printed_is_an_error_at_its_line(text: str, line: int) -> None:
    cells = Cells(pa.RecordBatch.from_pylist([{"n": 1, "blob": b"x"}]), ("n", "blob"))
    with pytest.raises(RowError, match=f"^t line {line}: TypeError"):
        RowTemplate(text, "t", ("n", "blob")).render(cells, 1)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "name": st.none() | st.text(max_size=5),
                "text": st.none() | st.text(max_size=20),
                "n": st.integers(-3, 9),
                "price": st.none() | st.floats(),
                "tags": st.none() | st.lists(st.text(max_size=3), max_size=3),
                "flag": st.booleans(),
                "loop": st.just("L"),
                "unit price": st.integers(),
                "range": st.just("R"),
            }
        ),
        max_size=6,
    ),
    text=st.sampled_from(AWKWARD),
)
def test_any_rows_render_in_a_batch_as_they_would_one_at_a_time(
    rows: list[dict[str, Any]], text: str
) -> None:
    check_equal(text, rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ text|trim }}|{{ text|upper }}|{{ text|title }}", "||"),
        ("{{ 'a' ~ text ~ flag ~ price }}", "atrue0.1"),
        ("{{ text|replace('None', 'x') }}", ""),
        ("{{ text|default('nothing', true) }}", "nothing"),
        ("{{ text is none }}{{ not text }}", "truetrue"),
        ("{{ flag|string|upper }}", "TRUE"),
        ("{{ tags|join('-') }}", "a--true"),
        ("{{ rows|join(', ', attribute='a') }}", "1, 2"),
        ("{{ tags|tojson }}{{ '<é>'|tojson }}", '["a",null,true]"<é>"'),
        ("{{ {'a': text}|tojson(indent=2) }}", '{\n  "a": null\n}'),
        ("{{ blob|b64encode }}", "/w=="),
    ],
)
def test_values_read_alike_in_filters_and_joined_texts(text: str, expected: str) -> None:
    row = {
        "text": None,
        "flag": True,
        "price": 0.1,
        "tags": ["a", None, True],
        "blob": b"\xff",
        "rows": [{"a": 1}, {"a": 2}],
    }
    template = RowTemplate(text, "t", tuple(row))
    [found] = template.render(GivenCells({name: [value] for name, value in row.items()}), 1)
    assert orjson.loads(found) == expected


@pytest.mark.parametrize(
    ("text", "used", "expected"),
    [
        ("{{ row['unit price'] }}", {"unit price"}, "2"),
        ("{{ row.a }}{{ row['b'] }}{{ a }}", {"a", "b"}, "1x1"),
        ("{{ row|tojson }}", {"a", "b", "unit price"}, '{"a":1,"b":"x","unit price":2}'),
        (
            "{% for k, v in row.items() %}{{ k }}={{ v }};{% endfor %}",
            {"a", "b", "unit price"},
            "a=1;b=x;unit price=2;",
        ),
        ("{% for k in ['a'] %}{{ row[k] }}{% endfor %}", {"a", "b", "unit price"}, "1"),
        ("{% set row = 5 %}{{ row }}", set(), "5"),
    ],
)
def test_the_whole_row_is_a_variable(text: str, used: set[str], expected: str) -> None:
    row = {"a": 1, "b": "x", "unit price": 2}
    template = RowTemplate(text, "t", tuple(row))
    assert template.columns == used
    [found] = template.render(GivenCells({name: [row[name]] for name in used}), 1)
    assert orjson.loads(found) == expected


def test_a_column_called_row_is_read_through_the_row() -> None:
    template = RowTemplate('{{ row["row"] }}{{ row["b"] }}', "t", ("row", "b"))
    assert template.columns == {"row", "b"}
    assert template.render(GivenCells({"row": ["x"], "b": [1]}), 1) == [b'"x1"']


@pytest.mark.parametrize(
    "text", ["{{ row }}", "{{ row | tojson }}", "{{ row.b }}{{ row }}", "{{ row.items() }}"]
)
def test_row_by_itself_is_refused_where_a_column_is_called_row(text: str) -> None:
    with pytest.raises(ConfigError, match=r'write row\["row"\] for the column'):
        RowTemplate(text, "t", ("row", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{{ a",
            "prompt.user line 1: unexpected end of template, expected 'end of print statement'; fix the template",
        ),
        ("\n\n{% if a %}", "prompt.user line 3: "),
        ("{{ " + "(" * 500 + "a" + ")" * 500 + " }}", "prompt.user: too many brackets, operators or blocks"),
        ("{% if a %}" * 150 + "{% endif %}" * 150, "prompt.user: too many brackets, operators or blocks"),
        ("{{ a" + " + a" * 5_000 + " }}", "prompt.user: too many brackets, operators or blocks"),
        ("{{ a|nope }}", "prompt.user line 1: No filter named 'nope'; fix the template"),
        ("\n{{ titel }}", "prompt.user line 2: the dataset has no column 'titel'; did you mean 'title'?"),
        ("{{ zzz }}", "prompt.user line 1: the dataset has no column 'zzz'; it has: a, title, unit price"),
        (
            "{{ loop.index }}",
            "prompt.user line 1: the dataset has no column 'loop'; it has: a, title, unit price",
        ),
        (
            "{{ a }}\n{{ row['unit_price'] }}",
            "prompt.user line 2: the dataset has no column 'unit_price'; did you mean",
        ),
        (
            "{{ row.titel ~ row }}",
            "prompt.user line 1: the dataset has no column 'titel'; did you mean 'title'?",
        ),
        (
            "{{ lipsum() }}",
            "prompt.user line 1: the dataset has no column 'lipsum'; it has: a, title, unit price",
        ),
        ("{{ _nightmail_rows }}", "prompt.user line 1: the dataset has no column '_nightmail_rows'; it has:"),
        (
            "{% if true %}\n{% include 'x' %}{% endif %}",
            "prompt.user line 2: templates cannot include, import or extend",
        ),
        ("{% extends 'x' %}", "prompt.user line 1: templates cannot include, import or extend"),
        ("{% from 'x' import y %}", "prompt.user line 1: templates cannot include, import or extend"),
        ("{% import 'x' as y %}", "prompt.user line 1: templates cannot include, import or extend"),
    ],
)
def test_a_template_no_row_could_pass_is_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RowTemplate(text, "prompt.user", ("a", "title", "unit price"))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_dataset_with_many_columns_is_not_listed_in_full() -> None:
    with pytest.raises(ConfigError, match=r"it has: col00, .*, col19, \.\.\.$"):
        RowTemplate("{{ zzz }}", "t", [f"col{number:02d}" for number in range(30)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n{{ 1 // n }}", "t line 2: ZeroDivisionError: "),
        ("{% macro m() %}\n\n{{ 1 // n }}{% endmacro %}{{ m() }}", "t line 3: ZeroDivisionError: "),
        ("{% block b %}\n{{ 1 // n }}{% endblock %}", "t line 2: ZeroDivisionError: "),
        ("{{ n.nope }}", "t line 1: UndefinedError: 'int object' has no attribute 'nope'"),
        (
            "{{ n.__class__ }}",
            "t line 1: SecurityError: access to attribute '__class__' of 'int' object is unsafe.",
        ),
        (
            "{{ blob }}",
            "t line 1: TypeError: binary value; write {{ column | b64encode }} to send it as base64",
        ),
        ("{{ '\\udc80' }}", "t line 1: TypeError: str is not valid UTF-8: surrogates not allowed"),
        ("{{ tags.append(1) }}", "t line 1: SecurityError: "),
    ],
)
def test_a_failing_row_says_where_and_why_in_one_line(text: str, message: str) -> None:
    template = RowTemplate(text, "t", ("n", "blob", "tags"))
    with pytest.raises(RowError) as caught:
        template.render(GivenCells({"n": [0], "blob": [b"x"], "tags": [[]]}), 1)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_rules_are_those_of_the_cells() -> None:
    kinds = pa.array([0.1, None], pa.float32())
    assert RowTemplate("{{ x }}", "t", ("x",)).render(GivenCells({"x": values.to_python(kinds)}), 2) == [
        b'"0.1"',
        b'""',
    ]
