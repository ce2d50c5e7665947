"""Parameters that must be numbers or truth values, within bounds: all else is refused by every provider, row after row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any, Final, Literal

from configs.errors import ConfigError
from tasks.stages.prompt.render import is_template
from tasks.stages.prompt.values_sent import SentAs, typed_filter

Due = Literal["number", "int", "bool"]
_FILTERS: Final[dict[Due, tuple[str, ...]]] = {
    "number": ("float", "int", "tojson"),
    "int": ("int", "tojson"),
    "bool": ("bool", "tojson"),
}
_WORDS: Final[dict[Due, str]] = {"number": "a number", "int": "a whole number", "bool": "true or false"}
_SENT_AS: Final[dict[Due, SentAs]] = {
    "number": SentAs.NUMBER,
    "int": SentAs.WHOLE,
    "bool": SentAs.TRUTH,
}
Range = tuple[float, float]
FROM_ONE: Final[Range] = (1, inf)


def sent_as(due: Mapping[str, Due], name: str) -> dict[str, SentAs]:
    """How templates are sent in the parameter `name`, by their path in it; elsewhere they may be anything."""
    return {
        path.removeprefix(name): _SENT_AS[kind]
        for path, kind in due.items()
        if path == name or path.startswith((f"{name}.", f"{name}["))
    }


def check_types(
    params: Mapping[str, Any],
    due: Mapping[str, Due],
    ranges: Mapping[str, Range] = {},
    where: str = "prompt.params",
) -> None:
    """ConfigError for a parameter that is text where something else is due, or a number out of its range.

    `due` and `ranges` have the paths of parameters, also inside of others: `thinking.budget_tokens`, `tools[].strict`.
    """
    for path, shown, value in _places(params):
        if path in due and (problem := _problem(value, due[path])):
            raise ConfigError(f"{where}.{shown}: {problem}")
        if path in ranges and is_outside(value, ranges[path]):
            least, most = ranges[path]
            span = f"at least {least:g}" if most == inf else f"from {least:g} to {most:g}"
            raise ConfigError(f"{where}.{shown}: must be {span}, not {value!r}; correct it")


def _places(params: Mapping[str, Any], path: str = "", shown: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, the same with numbers of list items, value) of every parameter and of all inside of it."""
    for name, value in params.items():
        yield from _within(value, f"{path}.{name}".lstrip("."), f"{shown}.{name}".lstrip("."))


def _within(value: Any, path: str, shown: str) -> Iterator[tuple[str, str, Any]]:
    yield path, shown, value
    if isinstance(value, Mapping):
        yield from _places(value, path, shown)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _within(item, f"{path}[]", f"{shown}[{number}]")


def is_typed(value: Any) -> bool:
    """Whether a parameter is a template that each row makes a list, an object or another JSON value of."""
    return isinstance(value, str) and is_template(value) and typed_filter(value) == "tojson"


def is_outside(value: Any, bounds: Range) -> bool:
    """Whether a value is a number beyond its bounds."""
    return type(value) in (int, float) and not bounds[0] <= value <= bounds[1]


def _problem(value: Any, due: Due) -> str | None:
    filters, words = _FILTERS[due], _WORDS[due]
    if isinstance(value, str):
        if not is_template(value):
            return f"must be {words}, not the text {value!r}; remove the quotes"
        if typed_filter(value) not in filters:
            return f"a template is sent as text, and {words} is due; end it in a filter: {{{{ column | {filters[0]} }}}}"
        return None
    fits = value is None or (
        isinstance(value, bool)
        if due == "bool"
        else type(value) is int or (due == "number" and type(value) is float)
    )
    return None if fits else f"must be {words}, not {value!r}"
