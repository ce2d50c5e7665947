"""What one row's prompt may take, so that a template that loops loses its rows and not the night.

Counted and not timed: the same row must come to the same end on a slow machine, or a resumed run would differ from its plan.
A step is a pass of a loop; a macro's call costs ten, texts that operators make one a kilobyte, a range one for ten numbers.
`LimitedEnvironment` looks at what could make something huge in one go (`"x" * 10**12`, `10 ** 10 ** 10`), `Counting`
writes the counting into a template's syntax tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from jinja2 import nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.visitor import NodeTransformer

MAX_STEPS: Final = 200_000
"""Of one row: 0.06 s of the processor for passes that do nothing, about 0.5 s for passes that write a number."""

MAX_TEXT: Final = 64 << 20
"""Characters of one text, and of all that the loops of rows rendered together write; beyond them those are rendered in halves."""

_MAX_BITS: Final = 100_000  # of an integer
BUDGET: Final = "_nightmail_budget"
_STEP, _CALL, _WRITTEN, _MADE, _ROW = (
    "_nightmail_step",
    "_nightmail_call",
    "_nightmail_written",
    "_nightmail_made",
    "_nightmail_row",
)
_WIDE_FORMAT = re.compile(r"%[^%a-zA-Z]*(?:\d{7}|\*)|\{[^{}]*:[^{}]*(?:\d{7}|\{)")


class RowLimit(Exception):
    """A row's prompt takes more than a row may."""


class Budget:
    """What the current row has used."""

    def __init__(self) -> None:
        self._steps = 0
        self._written = 0

    def next_row(self) -> Budget:
        """Begin a row; what is written counts on."""
        self._steps = 0
        return self

    def spend(self, steps: int) -> None:
        """Count steps."""
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise RowLimit(f"more than {MAX_STEPS:,} steps for one row; let its loops end sooner")

    def write(self, size: int) -> None:
        """Count what a loop writes."""
        self._written += size
        if self._written > MAX_TEXT:
            raise RowLimit(f"more than {MAX_TEXT:,} characters; let its loops write less")


def _step(static_size: int, budget: Budget) -> bool:
    budget.spend(1)
    budget.write(static_size)
    return True


def _call(static_size: int, budget: Budget) -> None:
    budget.spend(10)
    budget.write(static_size)


def _written(text: str, budget: Budget) -> str:
    budget.write(len(text))
    return text


def _made(text: str, budget: Budget) -> str:
    _check_size(len(text))
    budget.spend(len(text) >> 10)
    return text


def _next_row(_: Any, budget: Budget) -> None:
    budget.next_row()


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    _STEP: _step,
    _CALL: _call,
    _WRITTEN: _written,
    _MADE: _made,
    _ROW: _next_row,
}


@pass_context
def counted_range(context: Context, *args: int) -> range:
    """The sandbox's `range`, paid for: what goes over it in one filter is no loop that could be counted."""
    numbers = safe_range(*args)
    context[BUDGET].spend(len(numbers) // 10)
    return numbers


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which no operator or method makes something huge."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_operands(operator, left, right)
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, str | bytes | list | tuple):
            context[BUDGET].spend(len(result) >> 10)
        return result

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - Jinja2's
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox has its own str.format around the text's
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes):
            name = getattr(method, "__name__", "").removesuffix("_map")
            _check_text_arguments(name, owner, (*args, *kwargs.values()))
        return super().call(__context, __obj, *args, **kwargs)


def limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that makes text, its arguments looked at first."""
    position = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        _check_text_arguments(name, args[position], (*args[position + 1 :], *options.values()))
        return function(*args, **options)

    return checked


class Counting(NodeTransformer):
    """Writes the counting into a template: a step at each pass and call, the size of what is written in them."""

    def __init__(self) -> None:
        self.loops = False
        self._depth = 0

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - the visitor's naming, as below
        if node.test is not None:
            node.test = nodes.And(_filtered(nodes.Const(0), _STEP, node), node.test).set_lineno(node.lineno)
        self._count_in(node, _STEP)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        self._count_in(node, _CALL)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _MADE, node)

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        self.generic_visit(node)
        if self._depth:
            node.nodes = [
                part
                if isinstance(part, nodes.TemplateData)
                else _filtered(_filtered(part, "string", part, counted=False), _WRITTEN, part)
                for part in node.nodes
            ]
        return node

    def _count_in(self, node: nodes.For | nodes.Macro, name: str) -> None:
        self.loops = True
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        step = nodes.ExprStmt(_filtered(nodes.Const(size), name, node)).set_lineno(node.lineno)
        node.body.insert(0, step)


def next_row(environment: LimitedEnvironment) -> nodes.ExprStmt:
    """The statement that begins a row."""
    statement = nodes.ExprStmt(
        nodes.Filter(nodes.Const(0), _ROW, [nodes.Name(BUDGET, "load")], [], None, None)
    )
    statement.set_lineno(1).set_environment(environment)
    return statement


def _filtered(node: nodes.Expr, name: str, place: nodes.Node, *, counted: bool = True) -> nodes.Filter:
    arguments: list[nodes.Expr] = [nodes.Name(BUDGET, "load", lineno=place.lineno)] if counted else []
    return nodes.Filter(
        node, name, arguments, [], None, None, lineno=place.lineno, environment=place.environment
    )


def _check_operands(operator: str, left: Any, right: Any) -> None:
    match operator, left, right:
        case "*", (str() | bytes() | list() | tuple()), int():
            _check_size(len(left) * right)
        case "*", int(), (str() | bytes() | list() | tuple()):
            _check_size(left * len(right))
        case "*", int(), int():
            _check_bits(left.bit_length() + right.bit_length())
        case "**", int(), int():
            _check_bits(left.bit_length() * right)
        case "+", (str() | bytes() | list() | tuple()), (str() | bytes() | list() | tuple()):
            _check_size(len(left) + len(right))
        case "%", (str() | bytes()), _:
            _check_text_arguments("format", left, ())


def _check_text_arguments(name: str, text: Any, arguments: tuple[Any, ...]) -> None:
    """Widths, repeats and patterns of a method or filter of texts."""
    if name == "format":
        if isinstance(text, str) and _WIDE_FORMAT.search(text):
            raise RowLimit(
                "a format that is a million characters wide, or as wide as a value; write its width"
            )
        return
    for argument in arguments:
        if isinstance(argument, int):
            _check_size(argument)
    texts = [argument for argument in arguments if isinstance(argument, str)]
    if name == "replace" and isinstance(text, str) and len(texts) > 1:
        _check_size(len(text) + text.count(texts[0]) * len(texts[1]))
    if name == "join":  # as a filter of a list by a text, as a method of a text over a list
        is_method = isinstance(text, str) and bool(arguments)
        between, items = (text, arguments[0]) if is_method else ("".join(texts[:1]), text)
        if hasattr(items, "__len__"):
            _check_size(len(between) * len(items))


def _check_size(size: int) -> None:
    if size > MAX_TEXT:
        raise RowLimit(f"a text or list of {size:,} would be made; one may have {MAX_TEXT:,}")


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise RowLimit("a number of more than 30,000 digits would be made; write a smaller one")
