"""A template that loops, doubles or explodes costs its row and nothing more."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from tasks.stages.prompt.render import Renderer, Skip, Template
from tasks.stages.prompt.row_limits import MAX_STEPS

RUNAWAY = {
    "a range": "{% for i in range(10**12) %}x{% endfor %}",
    "a loop in a loop": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "a loop that keeps nothing": "{% for i in range(999) %}{% for j in range(99999) if j < 0 %}{% endfor %}{% endfor %}",
    "filters in a loop": "{% for i in range(99999) %}{{ range(99999) | sum }}{% endfor %}",
    "recursion": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "recursion twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursive loop": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "multiplication": "{{ 'x' * 10**10 }}",
    "multiplication from the left": "{{ 10**10 * 'x' }}",
    "a list": "{{ [0] * 10**10 }}",
    "multiplication of what a row holds": "{{ (t * 100000) * 100000 }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "squares": "{% set n = namespace(x=99) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "doubling by +": "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling without a loop": "{% set x = t %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
    "a width": "{{ t | center(10**10) }}",
    "a constant's width": "{{ 'x' | center(10**10) }}",
    "an indent": "{{ 'a\nb' | indent(10**10) }}",
    "a method's width": "{{ t.ljust(10**10) }}",
    "a format": "{{ '%9999999999d' % 1 }}",
    "a format by its filter": "{{ '%9999999999d' | format(1) }}",
    "a method's format": "{{ '{:>9999999999}'.format(1) }}",
    "a width from a value": "{{ '{:>{}}'.format(1, 9999999999) }}",
    "a width from a value by %": "{{ '%*d' % (9999999999, 1) }}",
    "replacement": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "a method's replacement": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "a join": "{{ range(99999) | join('x' * 100000) }}",
    "text in a loop": "{% for i in range(9999) %}{{ 'x' * 100000 }}{% endfor %}",
    "plain text in a loop": "{% for i in range(99999) %}" + "x" * 9_999 + "{% endfor %}",
}


def rendered(text: str, rows: int = 1) -> list[bytes | Skip]:
    batch = pa.RecordBatch.from_pydict({"t": [f"row {n}" for n in range(rows)], "n": list(range(rows))})
    return Renderer({"x": Template(text, "prompt.user")}, ["t", "n"]).lines(batch, ["id"] * rows)


@pytest.mark.parametrize("kind", RUNAWAY)
def test_a_row_that_takes_too_much_is_skipped_soon_and_in_one_line(kind: str) -> None:
    began = time.process_time()
    (skip,) = rendered(RUNAWAY[kind])
    took = time.process_time() - began
    assert isinstance(skip, Skip), kind
    assert skip.code == "template_error"
    assert skip.message.startswith("prompt.user line ")
    assert "\n" not in skip.message
    assert took < 10, "in seconds of the processor"


def test_only_the_rows_at_fault_are_lost() -> None:
    lines = rendered(
        "{% for i in range(99 if n != 5 else 99999) %}{% for j in range(9) %}x{% endfor %}{% endfor %}", 9
    )
    assert [isinstance(line, Skip) for line in lines] == [n == 5 for n in range(9)]
    assert "more than 200,000 steps" in lines[5].message  # type: ignore[union-attr]


def test_each_row_has_its_own_steps() -> None:
    just_below = MAX_STEPS // 3
    lines = rendered(f"{{% for i in range({just_below}) %}}{{% endfor %}}{{{{ n }}}}", 9)
    assert lines == [b'{"x":"%d"}\n' % n for n in range(9)]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("{% for i in range(3) %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/3 2/3 3/3 "),
        ("{% for i in range(9) if i is odd %}{{ i }}{% else %}none{% endfor %}", "1357"),
        ("{% for i in [] %}x{% else %}none{% endfor %}", "none"),
        ("{% for i in [[1, [2]], 3] recursive %}{{ loop(i) if i is iterable else i }}{% endfor %}", "123"),
        ("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210"),
        ("{% call(x) f() %}{{ x }}{% endcall %}{% macro f() %}{{ caller(4) }}{% endmacro %}", None),
        ("{{ 'ab' * 2 ~ 2 ** 10 ~ 7 % 4 ~ (1 + 2) }}", "abab102433"),
        (
            "{{ '%d' % 10**10 if false else '%d' | format(10**10) }}{{ '{:>3}'.format(10**10) }}",
            "1000000000010000000000",
        ),
        ("{% for i in [none, 1.5, true] %}{{ i }},{% endfor %}", ",1.5,true,"),
        ("{% block b %}{% for i in range(2) %}{{ t }}{% endfor %}{% endblock %}", "row 0row 0"),
        (
            "{{ '%5d' % 3 }}{{ 'x' | center(3) }}{{ 'aXb'.replace('X', '-') }}{{ [1, 2] | join('-') }}",
            "    3 x a-b1-2",
        ),
    ],
)
def test_what_templates_do_they_do_as_before(text: str, sent: str | None) -> None:
    if sent is not None:
        assert rendered(text) == [b'{"x":"%s"}\n' % sent.encode()]
