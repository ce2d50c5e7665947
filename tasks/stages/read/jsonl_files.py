"""JSON Lines fragments: one pass over everything for the types, then batches with one explicit schema."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

from configs.errors import InputError
from tasks.stages.read.filters import Where
from tasks.stages.read.jsonl_types import Conflict, WideNumbers, as_text, dotted, merge, settled, wide_field
from tasks.stages.read.storage import BadLine, BadLines, Fragment, Storage, brief

_BLOCK = 1 << 20
_LONGEST_LINE = 512 << 20

LeaveOut = Callable[[BadLine], None]


@dataclass(frozen=True)
class Block:
    """Whole lines of a fragment; `line` is the number of the first one, from 1."""

    shown: str
    line: int
    data: bytes

    def lines(self) -> Iterator[Block]:
        """One block for each line that is not blank."""
        for number, data in enumerate(self.data.split(b"\n"), self.line):
            if data.strip():
                yield Block(self.shown, number, data)


@dataclass(frozen=True)
class JsonlReader:
    """`schema` holds every field met in any line; a line without a field has null there."""

    storage: Storage
    schema: Any
    skip: bool
    rows: int | None = field(default=None, init=False)

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches with the columns `names`. A line that is no object raises InputError, or counts in `bad`."""
        del where  # text has no statistics to prune with
        schema = pa.schema([self.schema.field(name) for name in names])
        with self.storage.guard(fragment.path):
            for block in _blocks(self.storage, fragment):
                table = _parsed(block, schema, bad.add if self.skip else None)
                for batch in table.combine_chunks().to_batches(max_chunksize=rows):
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def inspect_jsonl(storage: Storage, fragments: tuple[Fragment, ...], *, skip: bool) -> JsonlReader:
    """Read every line once and put the types together. Raises InputError."""
    known, wide = pa.struct([]), WideNumbers()
    for fragment in fragments:
        with storage.guard(fragment.path):
            for block in _blocks(storage, fragment):
                table = _parsed(block, None, _ignore if skip else None)
                known = _extended(known, block, table)
                if any(wide.suspects(part) for part in table.to_struct_array().chunks):
                    _refuse_wide(block, known)
    if wide.lost(known):
        for fragment in fragments:
            for block in _blocks(storage, fragment):
                _refuse_wide(block, known)
    if not known.num_fields:
        raise InputError(f"{storage.shown(fragments[0].path)}: has no rows with a field; check source.path")
    return JsonlReader(storage, pa.schema(list(settled(known))), skip)


def _ignore(line: BadLine) -> None:
    """The first pass looks at types only; the second one counts."""


def _blocks(storage: Storage, fragment: Fragment) -> Iterator[Block]:
    shown, line = storage.shown(fragment.path), 1
    with storage.open_stream(fragment) as stream:
        for data in _whole_lines(stream, shown):
            yield Block(shown, line, data.removeprefix(codecs.BOM_UTF8) if line == 1 else data)
            line += data.count(b"\n")


def _whole_lines(stream: Any, shown: str) -> Iterator[bytes]:
    """Bytes cut after a newline, about a block at a time."""
    parts: list[bytes] = []
    size = 0
    while chunk := stream.read(_BLOCK):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join((*parts, chunk[:cut]))
            parts, size = [], 0
        parts.append(chunk[cut:])
        size += len(chunk) - cut
        if size > _LONGEST_LINE:
            raise InputError(
                f"{shown}: a line is longer than {_LONGEST_LINE >> 20} MB; JSON Lines has one object a line"
            )
    if size:
        yield b"".join(parts)


def _parsed(block: Block, schema: Any, leave_out: LeaveOut | None) -> Any:
    """The block as a table, one row for each line that is not blank.

    Lines are only looked at one by one when the block as a whole does not parse.
    """
    try:
        return _exactly(block.data, block.data.count(b"\n") + (not block.data.endswith(b"\n")), schema)
    except (ValueError, pa.ArrowException):
        lines = list(block.lines())
    for check in (_is_object, _is_readable):
        lines = list(_sifted(lines, check, leave_out))
        try:
            return _exactly(b"\n".join(line.data for line in lines), len(lines), schema)
        except (ValueError, pa.ArrowException) as error:
            last = error
    _refuse_conflict(lines, pa.struct(list(schema or ())))
    raise InputError(f"{block.shown}: line {block.line} or after: {brief(last)}; correct it") from last


def _exactly(data: bytes, rows: int, schema: Any) -> Any:
    str(data, "utf-8")  # Arrow takes bytes that are no UTF-8 into a text column as they are
    if not rows:
        return (schema or pa.schema([])).empty_table()
    table = pa_json.read_json(
        pa.BufferReader(data),
        pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        pa_json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"
        ),
    )
    if table.num_rows != rows:
        raise ValueError(f"{table.num_rows} objects in {rows} lines")
    return table


def _sifted(
    lines: Iterable[Block], check: Callable[[bytes], None], leave_out: LeaveOut | None
) -> Iterator[Block]:
    for line in lines:
        try:
            check(line.data)
        except (ValueError, RecursionError, pa.ArrowException) as error:
            reason = _reason(error)
            if leave_out is None:
                raise InputError(
                    f"{line.shown}: line {line.line}: {reason}; "
                    "write one JSON object a line, or set source.bad_lines: skip"
                ) from error
            leave_out(BadLine(line.shown, line.line, reason))
        else:
            yield line


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text at byte {error.start + 1}"
    return brief(error).removeprefix("JSON parse error: ").removesuffix(" in row 0").removesuffix(".")


def _is_object(data: bytes) -> None:
    if not isinstance(json.loads(str(data, "utf-8")), dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for whatever is wrong with a line


def _is_readable(data: bytes) -> None:
    _exactly(data, 1, None)


def _extended(known: Any, block: Block, table: Any) -> Any:
    try:
        return merge(known, as_text(pa.struct(list(table.schema))))
    except Conflict as error:
        lines = list(_sifted(block.lines(), _is_readable, _ignore))
        _refuse_conflict(lines, known)
        raise InputError(f"{block.shown}: line {block.line} or after: {error}; write one type") from error


def _refuse_conflict(lines: Iterable[Block], known: Any) -> None:
    """Raise InputError for the first line whose types do not fit what is known."""
    for line in lines:
        try:
            known = merge(known, as_text(pa.struct(list(_exactly(line.data, 1, None).schema))))
        except Conflict as error:
            raise InputError(
                f"{line.shown}: line {line.line}: {error}; write it one way throughout, e.g. as text in quotes"
            ) from error


def _refuse_wide(block: Block, known: Any) -> None:
    """Raise InputError for the first whole number that would lose digits."""
    for line in block.lines():
        try:
            path = wide_field(str(line.data, "utf-8"), known)
        except (ValueError, RecursionError):
            continue  # a bad line, left out or refused elsewhere
        if path:
            raise InputError(
                f"{line.shown}: line {line.line}: field {dotted(path)!r} holds a whole number too large to be kept exactly; "
                "write it as text in quotes"
            )
