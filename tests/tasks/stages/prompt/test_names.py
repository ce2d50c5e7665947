"""Columns called like something of Jinja2's: the column, or an error that says how to write it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from configs.errors import ConfigError
from rigs.given_cells import GivenCells
from tasks.stages.prompt.templates import RowTemplate

ANY_NAME = (
    "self",
    "super",
    "loop",
    "caller",
    "varargs",
    "kwargs",
    "range",
    "namespace",
    "dict",
    "cycler",
    "joiner",
)
OTHERS = (
    "context",
    "environment",
    "resolve",
    "missing",
    "undefined",
    "if",
    "in",
    "is",
    "and",
    "_",
    "lipsum",
    "block",
)
CONSTANTS = ("true", "false", "none", "True", "False", "None")


def rendered(text: str, **row: Any) -> Any:
    template = RowTemplate(text, "t", tuple(row))
    [found] = template.render(GivenCells({name: [row[name]] for name in template.columns}), 1)
    return orjson.loads(found)


@pytest.mark.parametrize("name", ANY_NAME + OTHERS)
@pytest.mark.parametrize(
    "text", ["{{ NAME }}", "{{ NAME | upper }}{% if NAME %}!{% endif %}", "{{ row['NAME'] }}"]
)
def test_a_column_of_that_name_is_the_column(name: str, text: str) -> None:
    assert rendered(text.replace("NAME", name), **{name: "V", "b": 1}).startswith("V")


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_column_called_like_a_constant_is_read_through_the_row(name: str) -> None:
    assert rendered(f"{{{{ row['{name}'] }}}}{{{{ row.{name} }}}}", **{name: "V"}) == "VV"
    with pytest.raises(ConfigError, match=rf't line 2: .*write row\["{name}"\] for the column'):
        RowTemplate(f"\n{{{{ {name} }}}}", "t", (name,))
    assert rendered("{{ true }}{{ x is none }}{{ x is not none }}", x=1) == "truefalsetrue"
    assert rendered("{{ x is none }}{{ x is not none }}", x=1, **{name: "V"}) == "falsetrue"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% for n in range(2) %}{{ n }}{% endfor %}{{ range }}", "01V"),
        ("{% set n = namespace(x=1) %}{{ n.x }}{{ namespace }}", "1V"),
        ("{{ dict(a=1).a }}{{ dict }}", "1V"),
        ("{% for n in [1, 2] %}{{ loop.index }}{{ loop.last }}{% endfor %}{{ loop }}", "1false2trueV"),
        ("{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}{{ caller }}", "xV"),
    ],
)
def test_the_names_keep_their_meaning_where_a_cell_could_not_stand(text: str, expected: str) -> None:
    columns = dict.fromkeys(ANY_NAME, "V")
    assert rendered(text, **columns) == expected
    assert rendered(text.replace("{{ NAME }}", ""), **columns) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{% for n in [1] %}{{ loop }}{% endfor %}", "loop"),
        ("{% for n in [1] %}{{ loop.mine }}{% endfor %}", "loop"),
        ("{% macro m() %}{{ varargs }}{% endmacro %}{{ m() }}", "varargs"),
        ("{% macro m() %}{{ kwargs }}{% endmacro %}{{ m() }}", "kwargs"),
        ("{% block b %}{{ self }}{% endblock %}", "self"),
    ],
)
def test_a_name_that_could_be_both_is_refused_with_how_to_write_it(text: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf't line 1: .*write row\["{name}"\] for the column'):
        RowTemplate(text, "t", ANY_NAME)


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "copy", "pop", "update"])
def test_a_field_called_like_a_method_is_the_field(name: str) -> None:
    field = {name: "V", "b": 1}
    assert rendered(f"{{{{ person.{name} }}}}", person=field) == "V"
    assert rendered(f"{{{{ row.{name} }}}}", **field) == "V"
    assert rendered("{% for k, v in person.items() %}{{ k }}{% endfor %}", person=field) == f"{name}b"
