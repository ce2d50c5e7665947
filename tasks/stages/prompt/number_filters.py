"""The filters `float` and `int`: what is no number is an error of its row that names the column, where Jinja2 says 0.

As in Jinja2, `int` cuts decimals off, and a default is taken where one is given: `{{ price | float(1.0) }}`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from tasks.stages.prompt import values

_COLUMN = "_nightmail_column"
_DECIMAL_BASE = 10


def number_filter(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """The filter `float` or `int`; with a default it is Jinja2's `original`."""

    @functools.wraps(original)
    def to_number(value: Any, *args: Any, **options: Any) -> Any:
        column = options.pop(_COLUMN, "")
        if args or "default" in options:
            return original(value, *args, **options)
        try:
            return _number(value, kind, **options)
        except (ValueError, OverflowError):
            raise no_number(value, kind, column) from None

    return to_number


def no_number(value: Any, kind: str, column: str) -> values.NotSendable:
    """The error for a value that is no `kind`; `column` may be empty."""
    shown = str(values.to_text(value)).strip()
    what = f"{shown[:60]!r} is no {kind}" if shown else "the value is empty"
    name = column or "column"
    instead = f"{name} | default(..., true) | bool" if kind == "bool" else f"{name} | {kind}(default=...)"
    where = f"column {column!r}: " if column else ""
    return values.NotSendable(f"{where}{what}; write {{{{ {instead} }}}} for such rows")


def shown_column(node: nodes.Node | None) -> str:
    """The column that an expression is, as a template names it; empty for any other expression."""
    match node:
        case nodes.Name(name=name):
            return str(name)
        case nodes.Getitem(node=nodes.Name(name="row"), arg=nodes.Const(value=str(name))):
            return name
        case nodes.Getattr(node=nodes.Name(name="row"), attr=str(name)):
            return name
    return ""


class NumberColumns(NodeTransformer):
    """Tells the filters of numbers which column they are given. Before columns are renamed."""

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        column = shown_column(node.node)
        if node.name in ("float", "int") and column:
            name = nodes.Keyword(_COLUMN, nodes.Const(column, lineno=node.lineno), lineno=node.lineno)
            node.kwargs.append(cast("nodes.Pair", name))  # as Jinja2's own parser has it
        return node


def _number(value: Any, kind: str, base: int = _DECIMAL_BASE) -> float | int:
    if isinstance(value, int | float | Decimal):
        return int(value) if kind == "int" else _known(float(value))
    shown = str(values.to_text(value)).strip()
    if kind == "float":
        return _known(float(shown))
    if base != _DECIMAL_BASE or shown.lstrip("+-").isdecimal():
        return int(shown, base)
    return int(float(shown))


def _known(number: float) -> float:
    if math.isnan(number):
        raise ValueError
    return number
