"""One Jinja2 template over the columns of a dataset, rendered for a whole micro-batch in one call.

Templates run in a sandbox without a loader. A column is a variable by its name; `row` is the whole row, for names that
are no identifiers: `{{ row["unit price"] }}`, `{{ row | tojson }}` (unless a column is called `row`). How values read
is told in `tasks.stages.prompt.values`; `tojson` and `b64encode` are filters by the same rules. A final newline is kept.

Rendering one row at a time spends three quarters of its time on setting Jinja2 up for the row. So Jinja2 runs the row
loop itself: the template's syntax tree (not its text: whitespace control would change) is wrapped once as

    {% for <its columns> in <rows> %}{% filter <JSON text> %} … {% endfilter %}{% endfor %}

and its root function yields one JSON string per row. The filter block is a scope of its own, so nothing that a row
sets reaches the next.
"""

from __future__ import annotations

import difflib
import functools
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import orjson
from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes, pass_eval_context
from jinja2.filters import sync_do_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from configs.errors import ConfigError
from tasks.stages.prompt import values

ROW = "row"
# Names no template can reach by accident: using them is an unknown column.
_ROWS, _NOTHING, _EMIT = "_nightmail_rows", "_nightmail_nothing", "_nightmail_emit"
_NEEDS_FILES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
_TEXT_FILTERS = (
    *("capitalize", "center", "indent", "lower", "replace", "string", "striptags", "title"),
    *("trim", "truncate", "upper", "wordcount", "wordwrap"),
)


class RowError(Exception):
    """A row could not be rendered; the message is one line that names the template, its line and the reason."""


class RowTemplate:
    """A compiled template. `name` says in messages where it stands, e.g. `prompt.user`.

    Raises `ConfigError` for a syntax error, an unknown column, and tags that need other files.
    """

    def __init__(self, text: str, name: str, columns: Sequence[str]) -> None:
        self.name = name
        try:
            tree = _environment().parse(text)
            _refuse_files(tree, name)
            self._variables, self._row = _used(tree, name, columns)
            # Blocks render outside the loop's scope, and a column called `loop` would meet the loop's own.
            self._batched = tree.find(nodes.Block) is None and "loop" not in self._variables
            tree = _Texts().visit(tree)
            whole = self._looped(tree) if self._batched else tree
            self._compiled = _environment().from_string(whole)
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"{name} line {error.lineno}: {str(error.message).rstrip('.')}; fix the template"
            ) from error

    @property
    def columns(self) -> frozenset[str]:
        """The dataset columns it reads."""
        return frozenset({*self._variables, *self._row})

    def render(self, values: Mapping[str, list[Any]], rows: int) -> list[bytes]:
        """One JSON string (quoted, UTF-8) per row; `values` holds the used columns. Raises `RowError`."""
        try:
            return self._in_one_go(values, rows) if self._batched else self._one_by_one(values, rows)
        except Exception as error:
            # Templates are the user's code: whatever they raise is about a row.
            raise RowError(f"{self.name}{self._place(error)}: {reason(error)}") from error

    def _in_one_go(self, values: Mapping[str, list[Any]], rows: int) -> list[bytes]:
        feed = self._feed(values)
        each: Iterable[Any] = zip(*feed, strict=True) if len(feed) > 1 else feed[0] if feed else range(rows)
        context = self._compiled.new_context({_ROWS: each})
        return cast("list[bytes]", list(self._compiled.root_render_func(context)))

    def _one_by_one(self, values: Mapping[str, list[Any]], rows: int) -> list[bytes]:
        names, feed = self._names, self._feed(values)
        each: Iterable[tuple[Any, ...]] = zip(*feed, strict=True) if feed else [()] * rows
        root, context = self._compiled.root_render_func, self._compiled.new_context
        return [orjson.dumps("".join(root(context(dict(zip(names, row, strict=True)))))) for row in each]

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self._variables, ROW) if self._row else self._variables

    def _feed(self, values: Mapping[str, list[Any]]) -> list[list[Any]]:
        feed = [values[name] for name in self._variables]
        if self._row:
            cells_of = zip(*(values[name] for name in self._row), strict=True)
            feed.append([dict(zip(self._row, row, strict=True)) for row in cells_of])
        return feed

    def _looped(self, tree: nodes.Template) -> nodes.Template:
        names = [nodes.Name(name, "store") for name in self._names or (_NOTHING,)]
        target = names[0] if len(names) == 1 else nodes.Tuple(cast("list[nodes.Expr]", names), "store")
        emit = nodes.Filter(None, _EMIT, [], [], None, None)
        loop = nodes.For(
            target, nodes.Name(_ROWS, "load"), [nodes.FilterBlock(tree.body, emit)], [], None, False
        )
        whole = nodes.Template([loop])
        whole.set_lineno(1).set_environment(_environment())
        return whole

    def _place(self, error: Exception) -> str:
        lines = [
            self._compiled.get_corresponding_lineno(line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename == self._compiled.filename
        ]
        return f" line {lines[-1]}" if lines else ""


def reason(error: Exception) -> str:
    """The exception as part of a one-line message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=values.to_text, keep_trailing_newline=True
    )
    # Random text would make two renderings of the same row differ.
    del environment.globals["lipsum"]
    filters = environment.filters
    filters |= {name: _on_text(filters[name]) for name in _TEXT_FILTERS}
    filters |= {"join": _join, "tojson": _tojson, "b64encode": values.b64encode, _EMIT: orjson.dumps}
    return environment


def _on_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """A text filter that reads its value as printing would, so that `{{ null | trim }}` is not `None`."""
    position = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def on_text(*args: Any, **options: Any) -> Any:
        return function(*args[:position], values.to_text(args[position]), *args[position + 1 :], **options)

    return on_text


@pass_eval_context
def _join(context: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items = value if attribute is not None else [values.to_text(item) for item in value]
    return sync_do_join(context, items, d, attribute)


def _tojson(value: Any, indent: int | None = None) -> str:
    return values.to_json(value, indent=bool(indent))


class _Texts(NodeTransformer):
    """`a ~ b` by the same rules as printing."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Concat:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        node.nodes = [
            nodes.Filter(
                child, "string", [], [], None, None, lineno=node.lineno, environment=node.environment
            )
            for child in node.nodes
        ]
        return node


def _refuse_files(tree: nodes.Template, name: str) -> None:
    found = next(tree.find_all(_NEEDS_FILES), None)
    if found is not None:
        raise ConfigError(
            f"{name} line {found.lineno}: templates cannot include, import or extend other files; "
            "write the text into the prompt"
        )


def _used(tree: nodes.Template, name: str, columns: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns read as variables, and columns read through `row`, both in the dataset's order."""
    known = frozenset(columns)
    names = list(tree.find_all(nodes.Name))
    # Jinja2 does not report its globals, and a column may be called `range`.
    shadowed = known & _environment().globals.keys() & {found.name for found in names}
    loads = meta.find_undeclared_variables(tree) | shadowed
    # A name set in one branch only is undeclared in the other: the template's own business, no unknown column.
    own = {found.name for found in names if found.ctx != "load"}
    unknown = loads - known - own - {ROW}
    if unknown:
        lines = {found.name: found.lineno for found in reversed(names)}
        first = min(unknown, key=lambda each: (lines.get(each, 0), each))
        raise _unknown_column(first, f"{name} line {lines.get(first, 1)}", columns)
    through_row = _through_row(tree, name, columns) if ROW in loads - known else frozenset()
    return tuple(c for c in columns if c in loads), tuple(c for c in columns if c in through_row)


def _through_row(tree: nodes.Template, name: str, columns: Sequence[str]) -> frozenset[str]:
    """The columns read as `row["…"]` or `row.…`; all of them when the row is used in any other way."""
    accesses = [
        (key, node.lineno) for node in tree.find_all(nodes.Expr) if (key := _row_key(node)) is not None
    ]
    for key, line in accesses:
        if key not in columns:
            raise _unknown_column(key, f"{name} line {line}", columns)
    uses = sum(found.name == ROW for found in tree.find_all(nodes.Name))
    return frozenset(columns if len(accesses) < uses else (key for key, _ in accesses))


def _row_key(node: nodes.Expr) -> str | None:
    match node:
        case nodes.Getitem(node=nodes.Name(name="row"), arg=nodes.Const(value=str(key))):
            return key
        case nodes.Getattr(node=nodes.Name(name="row"), attr=key) if not hasattr(dict, key):
            return key
    return None


def _unknown_column(unknown: str, place: str, columns: Sequence[str]) -> ConfigError:
    close = difflib.get_close_matches(unknown, columns, n=1)
    if close:
        return ConfigError(f"{place}: the dataset has no column {unknown!r}; did you mean {close[0]!r}?")
    shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    return ConfigError(f"{place}: the dataset has no column {unknown!r}; it has: {shown or 'no columns'}")
