"""What a name in a template means where Jinja2 or Nightmail has a meaning for it and a column is called the same.

A column's name never changes what a template means. `range(3)` is the function, `{{ range }}` the column; what could
be either (`row` by itself, `loop` in a loop, `true`) is refused with how to write the column: `row["loop"]`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import nodes
from jinja2.runtime import LoopContext
from jinja2.visitor import NodeTransformer

from configs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

NodeType = TypeVar("NodeType", bound=nodes.Node)

ROW = "row"
_CONSTANTS = {
    "true": "(1 == 1)",
    "false": "(1 == 0)",
    "none": '""',
    "True": "(1 == 1)",
    "False": "(1 == 0)",
    "None": '""',
}
_MACRO_NAMES = frozenset({"caller", "varargs", "kwargs"})
_TEMPLATE_NAMES = frozenset({"self", "super", "loop"}) | _MACRO_NAMES


def refuse_constants(tokens: Iterable[tuple[int, str, str]], name: str, columns: Collection[str]) -> None:
    """ConfigError for a constant such as `true` that is a column's name as well; `tokens` are the lexer's."""
    before: list[str] = []
    for line, kind, value in tokens:
        is_constant = before[-1:] not in (["."], ["is"]) and before[-2:] != ["is", "not"]
        if kind == "name" and value in _CONSTANTS and value in columns and is_constant:
            raise ConfigError(
                f"{name} line {line}: {value!r} is a constant here and a column's name; "
                f'write row["{value}"] for the column, or {_CONSTANTS[value]} for the constant'
            )
        if kind != "whitespace":
            before = [*before[-1:], value]


def variables_of(
    tree: nodes.Template, columns: Collection[str], functions: Collection[str]
) -> dict[str, str]:
    """The variable that holds each column: its name, or another one where that name has a meaning of its own."""
    assigned = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    taken = (_TEMPLATE_NAMES | frozenset(functions)) - assigned
    return {
        column: f"_nightmail_column_{column}" if column in taken else column
        for column in columns
        if column != ROW
    }


class ColumnNames(NodeTransformer):
    """Let names mean columns where they cannot mean anything else, and read fields before methods.

    Raises ConfigError for a name that could be both.
    """

    def __init__(self, name: str, variables: dict[str, str], *, has_blocks: bool) -> None:
        self._name = name
        self._renamed = {column: other for column, other in variables.items() if column != other}
        self._own_names = {"self"} if has_blocks else set[str]()  # where the node is, these are Jinja2's

    def visit_Name(self, node: nodes.Name) -> nodes.Name:  # noqa: N802 - the visitor's naming
        if node.name not in self._renamed or node.ctx != "load":
            return node
        if node.name in self._own_names:
            raise ConfigError(
                f"{self._name} line {node.lineno}: {node.name!r} has a meaning of its own here and is a column's name; "
                f'write row["{node.name}"] for the column'
            )
        return _located(nodes.Name(self._renamed[node.name], "load"), node)

    def visit_Call(self, node: nodes.Call) -> nodes.Call:  # noqa: N802
        """What is called is a function or a method: a cell cannot be."""
        target = node.node
        if isinstance(target, nodes.Getattr):
            target.node = self.visit(target.node)
        elif not isinstance(target, nodes.Name):
            node.node = self.visit(target)
        for name in ("args", "kwargs", "dyn_args", "dyn_kwargs"):
            setattr(node, name, self._visited(getattr(node, name)))
        return node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Expr:  # noqa: N802
        """`person.items` is a struct's field of that name; Jinja2 would take the method that dicts have."""
        if self._is_the_loops_own(node):
            return node
        self.generic_visit(node)
        return _located(nodes.Getitem(node.node, nodes.Const(node.attr), node.ctx), node)

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        node.iter = self.visit(node.iter)
        node.else_ = self._visited(node.else_)
        node.test = self._visited(node.test)
        with self._meaning({"loop"}):
            node.body = self._visited(node.body)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        with self._meaning(_MACRO_NAMES):
            self.generic_visit(node)
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:  # noqa: N802
        node.call = self._visited(node.call)
        with self._meaning(_MACRO_NAMES):
            node.body = self._visited(node.body)
        return node

    def _is_the_loops_own(self, node: nodes.Getattr) -> bool:
        of_loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
        return of_loop and hasattr(LoopContext, node.attr) and "loop" in self._own_names

    def _visited(self, child: Any) -> Any:
        if isinstance(child, list):
            return [self.visit(each) for each in child]
        return None if child is None else self.visit(child)

    @contextmanager
    def _meaning(self, names: Iterable[str]) -> Iterator[None]:
        outside, self._own_names = self._own_names, self._own_names | set(names)
        try:
            yield
        finally:
            self._own_names = outside


def row_is_ambiguous(name: str, line: int) -> ConfigError:
    """The error for `row` by itself where a column is called `row`."""
    return ConfigError(
        f"{name} line {line}: 'row' is the whole row here and a column's name; "
        'write row["row"] for the column, row["…"] for another one, or rename the column'
    )


def _located(node: NodeType, original: nodes.Node) -> NodeType:
    node.set_lineno(original.lineno)
    node.environment = original.environment
    for child in node.iter_child_nodes():
        child.environment = original.environment
    return node
