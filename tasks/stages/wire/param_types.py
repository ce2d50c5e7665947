"""Parameters that must be numbers or truth values, within bounds: all else is refused by every provider, row after row."""

from __future__ import annotations

from collections.abc import Mapping
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
_SENT_AS: Final[dict[Due | None, SentAs]] = {
    None: SentAs.TYPED,
    "number": SentAs.NUMBER,
    "int": SentAs.WHOLE,
    "bool": SentAs.TRUTH,
}
Range = tuple[float, float]
FROM_ONE: Final[Range] = (1, inf)


def sent_as(due: Due | None) -> SentAs:
    """How a template is sent where that is due; None where it may be anything."""
    return _SENT_AS[due]


def check_types(
    params: Mapping[str, Any],
    due: Mapping[str, Due],
    ranges: Mapping[str, Range] = {},
    where: str = "prompt.params",
) -> None:
    """ConfigError for a parameter that is text where something else is due, or a number out of its range."""
    for name, value in params.items():
        if name in due and (problem := _problem(value, due[name])):
            raise ConfigError(f"{where}.{name}: {problem}")
        if name in ranges and is_outside(value, ranges[name]):
            least, most = ranges[name]
            span = f"at least {least:g}" if most == inf else f"from {least:g} to {most:g}"
            raise ConfigError(f"{where}.{name}: must be {span}, not {value!r}; correct it")


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
