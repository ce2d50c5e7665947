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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
import orjson
import pyarrow as pa

from configs.errors import ConfigError, InputError
from tasks.stages.prompt.cells import Cells
from tasks.stages.prompt.file_cells import MAX_ROW_BYTES, NO_FILES, Files
from tasks.stages.prompt.row_errors import RowError, SkipCode
from tasks.stages.prompt.row_fields import FieldsOfRows, RowFields
from tasks.stages.prompt.row_files import FilesOfRows, RowFiles, RunOfFiles
from tasks.stages.prompt.templates import RowTemplate
from tasks.stages.prompt.values import NotSendable
from tasks.stages.prompt.values_sent import FILTERS, SentAs, typed_filter

_LINE_SEPARATOR, _PARAGRAPH_SEPARATOR, _NEXT_LINE = (
    (mark.encode(), b"\\u%04x" % ord(mark)) for mark in ("\u2028", "\u2029", "\u0085")
)
MICRO_BATCH_ROWS: Final = 1024
"""Rows to read, weigh and cut at a time."""

_RENDERED_ROWS: Final = 256
"""Rows to render at a time: their values and texts stay in the processor's cache. 1,024 took a sixth more, 128 no less."""


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
_Hole = Leaf | tuple[str, RowFields] | RunOfFiles
"""A leaf, or the fields of a row and the name of the field in whose place they are, or the files of a row."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a row is not posted; it takes the place of its request line."""

    code: SkipCode
    message: str


class Leaves(Protocol):
    """What a request builder makes its leaves with: `templated` for the texts of the job file, `as_data` for a row's own."""

    def __call__(self, value: Any, name: str, sent_as: SentAs = SentAs.TEXT) -> Any:
        """The leaf, or the tree, of a value; `name` is its place."""


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


def as_data(value: Any, name: str, sent_as: SentAs = SentAs.TEXT) -> Any:
    """`value` itself, where it comes from a row and is no template; NotSendable where it cannot be sent as that."""
    if isinstance(value, str) and sent_as is not SentAs.TEXT:
        try:
            FILTERS[sent_as](value)
        except NotSendable as error:
            raise NotSendable(f"{name}: {error}") from None
    return value


def templated_param(value: Any, name: str, sent: Mapping[str, SentAs] = {}, path: str = "") -> Any:
    """The same for a parameter: a template that ends in a filter of a type is sent as that type, at any depth. `sent` says
    what is due in places of the parameter, by their path in it (`.max_uses`, `[].strict`, nothing for itself)."""
    match value:
        case str():
            typed = is_template(value) and typed_filter(value)
            return templated(value, name, sent.get(path, SentAs.TYPED) if typed else SentAs.TEXT)
        case dict():
            return {
                key: templated_param(item, f"{name}.{key}", sent, f"{path}.{key}")
                for key, item in value.items()
            }
        case list() | tuple():
            return [templated_param(item, f"{name}[{i}]", sent, f"{path}[]") for i, item in enumerate(value)]
    return value


class _Rows(NamedTuple):
    """Rows of a batch, their ids as JSON and their files."""

    batch: pa.RecordBatch
    ids: list[bytes]
    files: Files

    def cut(self, start: int, stop: int) -> _Rows:
        files = {column: rows[start:stop] for column, rows in self.files.items()}
        return _Rows(self.batch.slice(start, stop - start), self.ids[start:stop], files)


class Renderer:
    """Makes the request lines of rows from one request tree. Raises `ConfigError` for a template that no row could pass (see `RowTemplate`)."""

    def __init__(self, tree: Any, columns: Sequence[str]) -> None:
        literals: list[bytes] = [b""]  # the JSON between the placeholders
        self._templates: list[RowTemplate | FieldsOfRows | FilesOfRows] = []
        self._slots: list[int | None] = []  # per placeholder: which template fills it; None for the custom_id
        for piece in _pieces(tree):
            if isinstance(piece, bytes):
                literals[-1] += piece.replace(b"%", b"%%")
                continue
            literals.append(b"")
            self._slots.append(None if piece is CUSTOM_ID else len(self._templates))
            if isinstance(piece, Template):
                self._templates.append(RowTemplate(piece.text, piece.name, columns, piece.sent_as))
            elif isinstance(piece, RunOfFiles):
                self._templates.append(FilesOfRows(piece, columns))
            elif isinstance(piece, tuple):
                key, fields = piece
                self._templates.append(FieldsOfRows(fields, key, columns))
        self._format = one_line(b"%b".join(literals)) + b"\n"
        self._columns = self._read_by(self._templates, columns)
        self._in_texts = self._read_by(
            (each for each in self._templates if not isinstance(each, FilesOfRows)), columns
        )
        self.file_columns = self._read_by(self._file_holes, columns)
        """Those whose cells hold or name files."""

    @staticmethod
    def _read_by(
        templates: Iterable[RowTemplate | FieldsOfRows | FilesOfRows], columns: Sequence[str]
    ) -> tuple[str, ...]:
        """The columns that some templates read, in the dataset's order."""
        used = frozenset[str]().union(*(template.columns for template in templates))
        return tuple(column for column in columns if column in used)

    @property
    def _file_holes(self) -> list[FilesOfRows]:
        return [each for each in self._templates if isinstance(each, FilesOfRows)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns the templates read, in the dataset's order: no other has to be decoded."""
        return self._columns

    @property
    def blank_line(self) -> bytes:
        """A request line in which every hole is an empty text, or list: what all lines have in common."""
        return self._format % tuple(
            b'""' if slot is None else self._templates[slot].blank for slot in self._slots
        )

    @property
    def may_hold_media(self) -> bool:
        """Whether rows bring messages or files of their own, which a blank line knows nothing of."""
        return any(isinstance(template, FieldsOfRows | FilesOfRows) for template in self._templates)

    def lines(
        self, batch: pa.RecordBatch, custom_ids: Sequence[str], files: Files = NO_FILES
    ) -> list[bytes | Skip]:
        """One request line or `Skip` per row; `files` are those of `file_columns`. `InputError` when the batch lacks a used column."""
        self._check_columns(batch)
        rows = _Rows(batch, _quoted(custom_ids), files)
        make = self._lines_that_fit if self._too_large(batch) is None else self._lines
        starts = range(0, batch.num_rows, _RENDERED_ROWS)
        return [line for start in starts for line in make(rows.cut(start, start + _RENDERED_ROWS))]

    def preview(self, batch: pa.RecordBatch, files: Files = NO_FILES) -> list[tuple[str, str]] | Skip:
        """The first row's text of each template, as (name, text): for people to read before they pay."""
        self._check_columns(batch)
        first = _Rows(batch, [], files).cut(0, 1)
        if too_large := self._too_large(first.batch):
            return too_large
        try:
            texts = self._texts(first)
        except RowError as error:
            return Skip(error.code, str(error))
        pairs = zip(self._templates, texts, strict=True)
        return [(template.name, template.shown(text[0])) for template, text in pairs if text]

    def _lines(self, rows: _Rows) -> list[bytes | Skip]:
        if too_large := self._too_large(rows.batch):
            return self._halves(rows, too_large)
        return self._lines_that_fit(rows)

    def _lines_that_fit(self, rows: _Rows) -> list[bytes | Skip]:
        try:
            texts = self._texts(rows)
        except RowError as error:
            return self._halves(rows, Skip(error.code, str(error)))
        line = self._format
        if not self._slots:
            return [line % ()] * rows.batch.num_rows
        slots = (rows.ids if slot is None else texts[slot] for slot in self._slots)
        lines = [line % values for values in zip(*slots, strict=True)]
        return [*map(one_line, lines)] if _hold_line_ends(b"".join(lines)) else [*lines]

    def _too_large(self, batch: pa.RecordBatch) -> Skip | None:
        size = sum(batch.column(name).nbytes for name in self._columns)
        if size <= MAX_ROW_BYTES:
            return None
        reason = f"the cells that the prompt uses are {size:,} bytes; one row takes {MAX_ROW_BYTES:,}"
        return Skip("row_too_large", reason)

    def _halves(self, rows: _Rows, skip: Skip) -> list[bytes | Skip]:
        """The lines of a batch that cannot be rendered as a whole; `skip` where it is a single row."""
        count = rows.batch.num_rows
        if count < 2:
            return [skip]
        return self._lines(rows.cut(0, count // 2)) + self._lines(rows.cut(count // 2, count))

    def _texts(self, rows: _Rows) -> list[list[bytes]]:
        batch, _, files = rows
        # Before anything is made of the files: rows at fault are searched for by halves.
        for hole in self._file_holes:
            hole.check(files, batch.num_rows)
        values, count = Cells(batch, self._in_texts), batch.num_rows
        return [
            each.render(files, count) if isinstance(each, FilesOfRows) else each.render(values, count)
            for each in self._templates
        ]

    def _check_columns(self, batch: pa.RecordBatch) -> None:
        for name in self._columns:
            if batch.schema.get_field_index(name) < 0:
                raise InputError(
                    f"column {name!r} is missing or twice in this part of the dataset, and the prompt uses it; "
                    "give every file the same columns"
                )


def one_line(line: bytes) -> bytes:
    """A request line without what only some readers take for the end of one; in JSON it stands in texts alone."""
    if line.isascii():  # which is known at once
        return line
    # A single byte is found ten times as fast as two or three, and few texts have these.
    if b"\xe2" in line and b"\xe2\x80" in line:
        line = line.replace(*_LINE_SEPARATOR).replace(*_PARAGRAPH_SEPARATOR)
    return line.replace(*_NEXT_LINE) if b"\xc2" in line else line


def _hold_line_ends(lines: bytes) -> bool:
    """Whether `one_line` has something to do: asked of many lines at once, it costs a third."""
    if lines.isascii():
        return False
    values = np.frombuffer(lines, np.uint8)
    if b"\xe2" in lines:  # a single byte is found in no time
        at = np.flatnonzero(values == 0xE2)
        # U+2028 is e2 80 a8, U+2029 is e2 80 a9
        if bool(((values[at + 1] == 0x80) & (values[at + 2] & 0xFE == 0xA8)).any()):
            return True
    return b"\xc2" in lines and bool((values[np.flatnonzero(values == 0xC2) + 1] == 0x85).any())


def _quoted(texts: Sequence[str]) -> list[bytes]:
    """Each text as JSON: all of them in one call, unless one holds a comma."""
    quoted = orjson.dumps(texts)[1:-1].split(b",") if texts else []
    return quoted if len(quoted) == len(texts) else [orjson.dumps(text) for text in texts]


def _pieces(node: Any) -> Iterator[bytes | _Hole]:
    """The tree as JSON text, in pieces, with its placeholders between them."""
    if isinstance(node, Template) or node is CUSTOM_ID:
        yield node
    elif isinstance(node, dict):
        yield b"{"
        for i, (key, value) in enumerate(node.items()):
            yield b"," if i else b""
            if isinstance(value, RowFields):
                yield key, value
                continue
            yield b"%b:" % _json(key)
            yield from _pieces(value)
        yield b"}"
    elif isinstance(node, list | tuple):
        yield b"["
        yield from _items(node)
        yield b"]"
    else:
        yield _json(node)


def _items(items: Sequence[Any]) -> Iterator[bytes | _Hole]:
    """The items of a list with commas between them. Files of a row bring their own commas: there may be none of them."""
    if all(isinstance(item, RowFiles) for item in items):
        if items:
            yield RunOfFiles(tuple(items), None)
        return
    is_first = True
    for item in items:
        if isinstance(item, RowFiles):
            yield RunOfFiles((item,), not is_first)
            continue
        yield b"" if is_first else b","
        is_first = False
        yield from _pieces(item)


def _json(leaf: Any) -> bytes:
    try:
        return orjson.dumps(leaf)
    except TypeError as error:
        raise ConfigError(f"request body: {leaf!r} cannot be sent as JSON ({error}); quote it") from error
