"""Compile a Jinja2 template over the columns of a dataset, and render it for a whole micro-batch in one call.

Templates run in a sandbox without a loader. A column is a variable by its name; `row` is the whole row, for names that
are no identifiers: `{{ row["unit price"] }}`, `{{ row | tojson }}`. `tasks.stages.prompt.names` says what a name means that
Jinja2 knows as well. How values read is described in `tasks.stages.prompt.values`; `tojson` and `b64encode` are filters by the same rules. A final newline is kept.

Rendering one row at a time spends three quarters of its time on setting Jinja2 up for the row. So Jinja2 runs the row
loop itself: the template's syntax tree (not its text: whitespace control would change) is wrapped once as

    {% for <its columns> in <rows> %}{% filter <JSON text> %} … {% endfilter %}{% endfor %}

and its root function yields one JSON string per row. The filter block is a scope of its own, so nothing that a row
sets reaches the next. A template that only prints columns, as most do, needs no Jinja2 for its rows at all: see `Cells.json_texts`.
"""

from __future__ import annotations

import difflib
import functools
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import orjson
from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes, pass_eval_context
from jinja2.filters import sync_do_join
from jinja2.visitor import NodeTransformer

from configs.errors import ConfigError
from tasks.stages.prompt import row_limits, values
from tasks.stages.prompt.cells import Cells
from tasks.stages.prompt.names import ROW, ColumnNames, refuse_constants, row_is_ambiguous, variables_of
from tasks.stages.prompt.number_filters import NumberColumns, number_filter, shown_column
from tasks.stages.prompt.row_errors import RowError, reason
from tasks.stages.prompt.row_limits import (
    BUDGET,
    Budget,
    Counting,
    LimitedEnvironment,
    counted_range,
    limited,
    next_row,
)
from tasks.stages.prompt.values_sent import FILTERS, TYPED, SentAs, to_typed, whole_expression

# Names no template can reach by accident: using them is an unknown column.
_ROWS, _NOTHING, _EMIT = "_nightmail_rows", "_nightmail_nothing", "_nightmail_emit"
_EMIT_JSON = "_nightmail_emit_json"
_OF_TEXT = (
    SentAs.NOT_EMPTY, SentAs.NOT_BLANK, SentAs.URL, SentAs.HTTPS_URL, SentAs.MEDIA_URL, SentAs.BASE64,
)  # fmt: skip
_NEEDS_FILES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
_TEXT_FILTERS = (
    *("capitalize", "center", "indent", "lower", "replace", "string", "striptags", "title"),
    *("trim", "truncate", "upper", "wordcount", "wordwrap"),
)
_LIMITED_FILTERS = ("center", "format", "indent", "replace")


class RowTemplate:
    """A compiled template. `name` says in messages where it is, e.g. `prompt.user`.

    Raises `ConfigError` for a syntax error, an unknown column, and tags that need other files.
    """

    def __init__(self, text: str, name: str, columns: Sequence[str], sent_as: SentAs = SentAs.TEXT) -> None:
        self.name = name
        try:
            tree, self._emit = _sent_as(_environment().parse(text), sent_as)
            tree = NumberColumns().visit(tree)
            _refuse_files(tree, name)
            refuse_constants(_environment().lex(text), name, columns)
            has_blocks = tree.find(nodes.Block) is not None
            self._variable_of = variables_of(tree, columns, _environment().globals.keys())
            tree = ColumnNames(name, self._variable_of, has_blocks=has_blocks).visit(tree)
            self._variables, self._row_columns = _used_columns(tree, name, columns, self._variable_of)
            self._batched = not has_blocks  # blocks render outside the loop's scope
            counting = Counting()
            tree = counting.visit(_TextConcatenation().visit(tree))
            self._counts_rows = counting.loops
            self._printed = _printed(tree, self._variable_of) if self._emit == _EMIT else None
            self._compiled = _environment().from_string(self._row_loop(tree) if self._batched else tree)
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"{name} line {error.lineno}: {str(error.message).rstrip('.')}; fix the template"
            ) from error
        except (RecursionError, SyntaxError, MemoryError) as error:  # Python's limits for what Jinja2 writes
            raise ConfigError(
                f"{name}: too many brackets, operators or blocks inside each other; write it with fewer of them"
            ) from error

    blank = b'""'
    """What stands for its text in a line without any row's."""

    @property
    def columns(self) -> frozenset[str]:
        """The dataset columns it reads."""
        return frozenset({*self._variables, *self._row_columns})

    def render(self, values: Cells, rows: int) -> list[bytes]:
        """One JSON string (quoted, UTF-8) per row; `values` holds the used columns. Raises `RowError`."""
        if self._printed is not None:
            # Jinja2 then says which line of the template it is about.
            with suppress(RowError, TypeError, ValueError):
                return self._printed.render(values, rows)
        try:
            return self._render_batch(values, rows) if self._batched else self._render_rows(values, rows)
        except RowError:
            raise
        except Exception as error:
            # Templates are the user's code: whatever they raise is about a row.
            raise RowError(f"{self.name}{self._line_of(error)}: {reason(error)}") from error

    def shown(self, sent: bytes) -> str:
        """What it made as people read it: text as it is."""
        value = orjson.loads(sent)
        return value if isinstance(value, str) else sent.decode()

    def _render_batch(self, values: Mapping[str, list[Any]], rows: int) -> list[bytes]:
        columns = self._loop_columns(values)
        # One loop variable takes the values themselves, several take tuples; without any, only the number counts.
        loop: Iterable[Any] = (
            zip(*columns, strict=True) if len(columns) > 1 else columns[0] if columns else range(rows)
        )
        context = self._compiled.new_context({_ROWS: loop, BUDGET: Budget()})
        return cast("list[bytes]", list(self._compiled.root_render_func(context)))

    def _render_rows(self, values: Mapping[str, list[Any]], rows: int) -> list[bytes]:
        """For templates that cannot be in a loop; takes about four times as long."""
        names, columns = self._names, self._loop_columns(values)
        loop: Iterable[tuple[Any, ...]] = zip(*columns, strict=True) if columns else [()] * rows
        root, context = self._compiled.root_render_func, self._compiled.new_context
        emit, budget = _environment().filters[self._emit], Budget()
        rendered = []
        for row in loop:
            variables = dict(zip(names, row, strict=True)) | {BUDGET: budget.next_row()}
            rendered.append(emit("".join(root(context(variables)))))
        return rendered

    @property
    def _names(self) -> tuple[str, ...]:
        """The loop's variables."""
        names = tuple(self._variable_of[column] for column in self._variables)
        return (*names, ROW) if self._row_columns else names

    def _loop_columns(self, values: Mapping[str, list[Any]]) -> list[list[Any]]:
        """The values of each loop variable."""
        columns = [values[name] for name in self._variables]
        if self._row_columns:
            cells_by_row = zip(*(values[name] for name in self._row_columns), strict=True)
            columns.append([dict(zip(self._row_columns, cells, strict=True)) for cells in cells_by_row])
        return columns

    def _row_loop(self, tree: nodes.Template) -> nodes.Template:
        """The template's syntax tree, wrapped as described at the top of this file."""
        names = [nodes.Name(name, "store") for name in self._names or (_NOTHING,)]
        target = names[0] if len(names) == 1 else nodes.Tuple(cast("list[nodes.Expr]", names), "store")
        emit = nodes.Filter(None, self._emit, [], [], None, None)
        body = [next_row(_environment()), *tree.body] if self._counts_rows else tree.body
        loop = nodes.For(target, nodes.Name(_ROWS, "load"), [nodes.FilterBlock(body, emit)], [], None, False)
        wrapped = nodes.Template([loop])
        wrapped.set_lineno(1).set_environment(_environment())
        return wrapped

    def _line_of(self, error: Exception) -> str:
        """The template's line in which the error was raised, from the traceback through the compiled code."""
        lines = [
            self._compiled.get_corresponding_lineno(line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename == self._compiled.filename
        ]
        return f" line {lines[-1]}" if lines else ""


class _Printed(NamedTuple):
    """A template that is nothing but text and columns in it: `line` is a bytes format, as JSON, with a place for each of `columns`."""

    line: bytes
    columns: tuple[str, ...]

    def render(self, values: Cells, rows: int) -> list[bytes]:
        line = self.line
        if not self.columns:
            return [line % ()] * rows
        texts = [values.json_texts(column) for column in self.columns]
        return [line % cells for cells in zip(*texts, strict=True)]


def _printed(tree: nodes.Template, variable_of: Mapping[str, str]) -> _Printed | None:
    """The template as one that only prints columns; None where it does anything else."""
    column_of = {variable: column for column, variable in variable_of.items()}
    literals, columns = [""], list[str]()
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for part in output.nodes:
            if isinstance(part, nodes.TemplateData):
                literals[-1] += part.data
                continue
            column = column_of.get(part.name) if isinstance(part, nodes.Name) else _row_key(part)
            if column is None:
                return None
            columns.append(column)
            literals.append("")
    try:
        between = [orjson.dumps(literal)[1:-1].replace(b"%", b"%%") for literal in literals]
    except TypeError:  # a surrogate by itself, which no JSON holds: an error of every row
        return None
    return _Printed(b'"%b"' % b"%b".join(between), tuple(columns))


@functools.cache
def _environment() -> LimitedEnvironment:
    environment = LimitedEnvironment(
        undefined=StrictUndefined, finalize=values.to_text, keep_trailing_newline=True
    )
    # Random text would make two renderings of the same row differ.
    del environment.globals["lipsum"]
    environment.globals["range"] = counted_range
    filters = environment.filters
    filters |= {name: _on_text(filters[name]) for name in _TEXT_FILTERS}
    filters |= {name: limited(name, filters[name]) for name in _LIMITED_FILTERS}
    filters |= {
        "join": limited("join", _join),
        "tojson": _tojson,
        "b64encode": values.b64encode,
        "bool": _bool,
        **{name: number_filter(name, filters[name]) for name in ("float", "int")},
    }
    filters |= {**row_limits.FILTERS, **FILTERS, _EMIT: orjson.dumps, _EMIT_JSON: str.encode}
    filters |= {_emitting(name): _encoded(FILTERS[name]) for name in _OF_TEXT}
    return environment


def _sent_as(tree: nodes.Template, sent_as: SentAs) -> tuple[nodes.Template, str]:
    """The template as its value is sent, and the filter that makes bytes of what it renders."""
    if sent_as in _OF_TEXT:
        return tree, _emitting(sent_as)
    whole = whole_expression(tree)
    if whole is None and sent_as in (SentAs.EMBEDDED, SentAs.NO_TOKENS):
        return tree, _emitting(SentAs.NOT_EMPTY)
    if sent_as is SentAs.TEXT or whole is None:
        return tree, _EMIT
    expression = whole.expression
    arguments = [whole.before, whole.after]
    if isinstance(expression, nodes.Filter):
        arguments = [expression.name, shown_column(expression.node)] if sent_as in TYPED else arguments
        has_default = bool(expression.args or expression.kwargs)
        if expression.name == "tojson" or (sent_as in TYPED and not has_default):
            expression = cast("nodes.Expr", expression.node)
    constants: list[nodes.Expr] = [nodes.Const(each) for each in arguments]
    sent = nodes.Filter(expression, str(sent_as), constants, [], None, None)
    tree.body = [nodes.Output([sent]).set_lineno(expression.lineno)]
    tree.set_environment(_environment())
    return tree, _EMIT_JSON


def _emitting(sent_as: SentAs) -> str:
    return f"{sent_as}_emit"


def _encoded(function: Callable[[str], str]) -> Callable[[str], bytes]:
    return lambda text: function(text).encode()


def _bool(value: Any) -> bool:
    return bool(orjson.loads(to_typed(value, "bool")))


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


class _TextConcatenation(NodeTransformer):
    """Let `a ~ b` read values by the same rules as printing: Jinja2's own would print None and a float's noise."""

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
    tag = next(tree.find_all(_NEEDS_FILES), None)
    if tag is not None:
        raise ConfigError(
            f"{name} line {tag.lineno}: templates cannot include, import or extend other files; "
            "write the text into the prompt"
        )


def _used_columns(
    tree: nodes.Template, name: str, columns: Sequence[str], variable_of: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns read as variables, and columns read through `row`, both in the dataset's order."""
    known = frozenset(variable_of.values())
    names = list(tree.find_all(nodes.Name))
    loads = meta.find_undeclared_variables(tree)
    # A name set in one branch only is undeclared in the other: the template's own business, no unknown column.
    assigned = {node.name for node in names if node.ctx != "load"}
    unknown = loads - known - assigned - {ROW}
    if unknown:
        lines = {node.name: node.lineno for node in reversed(names)}
        first = min(unknown, key=lambda column: (lines.get(column, 0), column))
        raise unknown_column(first, f"{name} line {lines.get(first, 1)}", columns)
    row_columns = _row_accesses(tree, name, columns) if ROW in loads else frozenset()
    variables = tuple(column for column, variable in variable_of.items() if variable in loads)
    return variables, tuple(c for c in columns if c in row_columns)


def _row_accesses(tree: nodes.Template, name: str, columns: Sequence[str]) -> frozenset[str]:
    """The columns read as `row["…"]` or `row.…`; all of them when the row is used in any other way."""
    accesses = [
        (key, node.lineno) for node in tree.find_all(nodes.Expr) if (key := _row_key(node)) is not None
    ]
    known = frozenset(columns)
    for key, line in accesses:
        if key not in known:
            raise unknown_column(key, f"{name} line {line}", columns)
    uses = [node for node in tree.find_all(nodes.Name) if node.name == ROW]
    if len(accesses) == len(uses):
        return frozenset(key for key, _ in accesses)
    if ROW in known:
        raise row_is_ambiguous(name, uses[0].lineno)
    return known


def _row_key(node: nodes.Expr) -> str | None:
    """The column that an expression reads of `row`, where it says so by itself."""
    match node:
        case nodes.Getitem(node=nodes.Name(name="row"), arg=nodes.Const(value=str(key))):
            return key
    return None


def unknown_column(unknown: str, location: str, columns: Sequence[str]) -> ConfigError:
    """The error for a name at `location` that is no column of the dataset."""
    close = difflib.get_close_matches(unknown, columns, n=1)
    if close:
        return ConfigError(f"{location}: the dataset has no column {unknown!r}; did you mean {close[0]!r}?")
    listed = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    return ConfigError(f"{location}: the dataset has no column {unknown!r}; it has: {listed or 'no columns'}")
