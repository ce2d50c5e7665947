"""Render rows into request lines: a request tree with placeholders, filled for every row of a micro-batch.

A request tree is plain JSON with `Template` leaves and `CUSTOM_ID` marks in it; builders in `tasks.stages.wire` make
one from a prompt. Everything between the placeholders is encoded once, into a bytes format. What templates may say is described in
`tasks.stages.prompt.templates`, how values read in `tasks.stages.prompt.values`:

null and NaN are empty text; bools are `true` and `false`; integers and decimals are as written; floats the shortest text
that reads back the same (also float32); dates, times and durations are ISO 8601; lists, structs and maps are JSON; a
binary value skips its row unless it goes through the `b64encode` filter. Where a tree wants something else than text,
its `Template` says so: see `tasks.stages.prompt.values_sent`.

Lines are UTF-8 without a BOM, unescaped but for U+2028, U+2029 and U+0085 (some services cut lines there), and end in
`\\n`. A row whose template fails becomes a `Skip`: when a micro-batch
raises, it is halved and rendered again, down to single rows, so only the rows at fault are lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

import orjson
import pyarrow as pa

from configs.errors import ConfigError, InputError
from tasks.stages.prompt.templates import RowError, RowTemplate, reason
from tasks.stages.prompt.values import to_python
from tasks.stages.prompt.values_sent import SentAs, typed_filter

_LINE_ENDS: Final = tuple((mark.encode(), b"\\u%04x" % ord(mark)) for mark in ("\u2028", "\u2029", "\u0085"))
MICRO_BATCH_ROWS: Final = 1024
"""Rows to render at a time: they stay in the processor's cache; 64 and 8192 were both slower, by a fifth and a half."""


MAX_ROW_BYTES: Final = 64 << 20
"""Of the cells that a row's prompt uses, as Arrow holds them: as Python values they take many times that."""


@dataclass(frozen=True, slots=True)
class Template:
    """A string leaf that is rendered for every row, and what becomes of its text. `name` says in messages where it is,
    e.g. `prompt.user`."""

    text: str
    name: str = field(default="template", compare=False)
    sent_as: SentAs = field(default=SentAs.TEXT, compare=False)


class _Placeholder(Enum):
    CUSTOM_ID = "custom_id"


CUSTOM_ID: Final = _Placeholder.CUSTOM_ID
"""The leaf where a row's id goes."""

Leaf = Template | Literal[_Placeholder.CUSTOM_ID]


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a row is not posted; it takes the place of its request line."""

    code: Literal["template_error", "row_too_large"]
    message: str


def is_template(text: str) -> bool:
    """Whether a text has Jinja2 syntax in it."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


def templated(value: Any, name: str, sent_as: SentAs = SentAs.TEXT) -> Any:
    """`value` as a tree: its strings with Jinja2 syntax become templates, named by their path under `name`."""
    match value:
        case str():
            return Template(value, name, sent_as) if is_template(value) else value
        case dict():
            return {key: templated(item, f"{name}.{key}", sent_as) for key, item in value.items()}
        case list() | tuple():
            return [templated(item, f"{name}[{i}]", sent_as) for i, item in enumerate(value)]
    return value


def templated_param(value: Any, name: str, sent_as: SentAs = SentAs.TYPED) -> Any:
    """The same for a parameter: a template that ends in a filter of a type is sent as that type; `sent_as` is one of TYPED."""
    match value:
        case str():
            typed = is_template(value) and typed_filter(value)
            return templated(value, name, sent_as if typed else SentAs.TEXT)
        case dict():
            return {key: templated_param(item, f"{name}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [templated_param(item, f"{name}[{i}]") for i, item in enumerate(value)]
    return value


class Renderer:
    """Makes the request lines of rows from one request tree. Raises `ConfigError` for a template that no row could pass (see `RowTemplate`)."""

    def __init__(self, tree: Any, columns: Sequence[str]) -> None:
        literals: list[bytes] = [b""]  # the JSON between the placeholders
        self._templates: list[RowTemplate] = []
        self._slots: list[int | None] = []  # per placeholder: which template fills it; None for the custom_id
        for piece in _pieces(tree):
            if isinstance(piece, bytes):
                literals[-1] += piece.replace(b"%", b"%%")
                continue
            literals.append(b"")
            self._slots.append(None if piece is CUSTOM_ID else len(self._templates))
            if isinstance(piece, Template):
                self._templates.append(RowTemplate(piece.text, piece.name, columns, piece.sent_as))
        self._format = one_line(b"%b".join(literals)) + b"\n"
        used = frozenset[str]().union(*(template.columns for template in self._templates))
        self._columns = tuple(column for column in columns if column in used)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns the templates read, in the dataset's order: no other has to be decoded."""
        return self._columns

    @property
    def blank_line(self) -> bytes:
        """A request line in which every hole is an empty text: what all lines have in common."""
        return self._format % ((b'""',) * len(self._slots))

    def lines(self, batch: pa.RecordBatch, custom_ids: Sequence[str]) -> list[bytes | Skip]:
        """One request line or `Skip` per row. `InputError` when the batch lacks a used column."""
        self._check_columns(batch)
        return self._lines(batch, _quoted(custom_ids))

    def preview(self, batch: pa.RecordBatch) -> list[tuple[str, str]] | Skip:
        """The first row's text of each template, as (name, text): for people to read before they pay."""
        self._check_columns(batch)
        first = batch.slice(0, 1)
        if too_large := self._too_large(first):
            return too_large
        try:
            texts = self._texts(first)
        except RowError as error:
            return Skip("template_error", str(error))
        pairs = zip(self._templates, texts, strict=True)
        return [(template.name, _shown(text[0])) for template, text in pairs if text]

    def _lines(self, batch: pa.RecordBatch, ids: list[bytes]) -> list[bytes | Skip]:
        if too_large := self._too_large(batch):
            return self._halves(batch, ids, too_large)
        try:
            texts = self._texts(batch)
        except RowError as error:
            return self._halves(batch, ids, Skip("template_error", str(error)))
        line = self._format
        if not self._slots:
            return [line % ()] * batch.num_rows
        slots = (ids if slot is None else texts[slot] for slot in self._slots)
        return [one_line(line % values) for values in zip(*slots, strict=True)]

    def _too_large(self, batch: pa.RecordBatch) -> Skip | None:
        size = sum(batch.column(name).nbytes for name in self._columns)
        if size <= MAX_ROW_BYTES:
            return None
        reason = f"the cells that the prompt uses are {size:,} bytes; one row takes {MAX_ROW_BYTES:,}"
        return Skip("row_too_large", reason)

    def _halves(self, batch: pa.RecordBatch, ids: list[bytes], skip: Skip) -> list[bytes | Skip]:
        """The lines of a batch that cannot be rendered as a whole; `skip` where it is a single row."""
        if batch.num_rows < 2:
            return [skip]
        half = batch.num_rows // 2
        return self._lines(batch.slice(0, half), ids[:half]) + self._lines(batch.slice(half), ids[half:])

    def _texts(self, batch: pa.RecordBatch) -> list[list[bytes]]:
        values = {name: _values(batch, name) for name in self._columns}
        return [template.render(values, batch.num_rows) for template in self._templates]

    def _check_columns(self, batch: pa.RecordBatch) -> None:
        for name in self._columns:
            if batch.schema.get_field_index(name) < 0:
                raise InputError(
                    f"column {name!r} is missing or twice in this part of the dataset, and the prompt uses it; "
                    "give every file the same columns"
                )


def _shown(sent: bytes) -> str:
    """JSON as people read it: text as it is."""
    value = orjson.loads(sent)
    return value if isinstance(value, str) else sent.decode()


def one_line(line: bytes) -> bytes:
    """A request line without what only some readers take for the end of one; in JSON it stands in texts alone."""
    if line.isascii():  # which is known at once
        return line
    for raw, escaped in _LINE_ENDS:
        line = line.replace(raw, escaped)
    return line


def _quoted(texts: Sequence[str]) -> list[bytes]:
    """Each text as JSON: all of them in one call, unless one holds a comma."""
    quoted = orjson.dumps(texts)[1:-1].split(b",") if texts else []
    return quoted if len(quoted) == len(texts) else [orjson.dumps(text) for text in texts]


def _values(batch: pa.RecordBatch, name: str) -> list[Any]:
    try:
        return to_python(batch.column(name), batch.schema.field(name))
    except (ValueError, OverflowError, pa.ArrowException) as error:
        # A text that is no UTF-8, a date past the year 9999: Arrow holds what Python cannot.
        raise RowError(f"column {name!r}: {reason(error)}") from error


def _pieces(node: Any) -> Iterator[bytes | Leaf]:
    """The tree as JSON text, in pieces, with its placeholders between them."""
    if isinstance(node, Template) or node is CUSTOM_ID:
        yield node
    elif isinstance(node, dict):
        yield b"{"
        for i, (key, value) in enumerate(node.items()):
            yield b"%b%b:" % (b"," if i else b"", _json(key))
            yield from _pieces(value)
        yield b"}"
    elif isinstance(node, list | tuple):
        yield b"["
        for i, value in enumerate(node):
            yield b"," if i else b""
            yield from _pieces(value)
        yield b"]"
    else:
        yield _json(node)


def _json(leaf: Any) -> bytes:
    try:
        return orjson.dumps(leaf)
    except TypeError as error:
        raise ConfigError(f"request body: {leaf!r} cannot be sent as JSON ({error}); quote it") from error
