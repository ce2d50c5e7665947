"""Read JSON Lines files: one pass over everything for the types, then batches with one explicit schema.

Arrow infers the types of each block by itself, so only a pass over all lines knows those of the dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

from configs.errors import InputError
from tasks.stages.read.filters import Where
from tasks.stages.read.json_depth import MAX_DEPTH, is_too_deep, may_be_too_deep
from tasks.stages.read.jsonl_lines import LineBlock, blocks
from tasks.stages.read.jsonl_types import (
    WideNumbers,
    as_text,
    field_name,
    field_with_wide_number,
    final_type,
    merge_types,
    parsed,
    plain_type,
    type_of,
)
from tasks.stages.read.text_encoding import likely_encoding
from tasks.storage.source_files import BadLine, BadLines, Fragment, SourceFilesystem
from tasks.storage.urls import one_line

_WINDOW_LINES = 64
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
_BLANK_LINE = re.compile(rb"\n[ \t\r]*(?=\n|\Z)")

LeaveOut = Callable[[BadLine], None]
Mixed = dict[tuple[str, ...], str]  # the fields of mixed types, each with what it was


class _MixedTypes(Exception):
    """Lines whose fields are of several types; `type_` is what the lines have in common."""

    def __init__(self, type_: Any, mixed: Mixed) -> None:
        super().__init__()
        self.type_, self.mixed = type_, mixed


@dataclass(frozen=True)
class JsonlReader:
    """Reads the JSON Lines files of a dataset.

    `schema` holds every field met in any line; a line without a field has null there. `type_` is the same as a struct in
    which fields of mixed types are marked.
    """

    storage: SourceFilesystem
    schema: Any
    type_: Any
    notes: tuple[str, ...]
    skip: bool
    rows: int | None = field(default=None, init=False)

    @property
    def can_refuse(self) -> Collection[str]:
        """Every column: any line may be one that cannot be taken."""
        names: list[str] = self.schema.names
        return names

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches with the columns `names`. A line that is no object raises InputError, or counts in `bad`."""
        del where  # text has no statistics to prune with
        schema = pa.schema([self.schema.field(name) for name in names])
        with self.storage.input_errors(fragment.path):
            for block in blocks(self.storage, fragment):
                block = block.with_json_texts(self.type_)
                table = _parse_block(block, schema, bad.add if self.skip else None)
                for batch in table.combine_chunks().to_batches(max_chunksize=rows):
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def inspect_jsonl(storage: SourceFilesystem, fragments: tuple[Fragment, ...], *, skip: bool) -> JsonlReader:
    """Read every line once and put the types together. Raises InputError."""
    known, wide, mixed = pa.struct([]), WideNumbers(), Mixed()
    for fragment in fragments:
        with storage.input_errors(fragment.path):
            for block in blocks(storage, fragment):
                known = _with_block(known, block, wide, mixed, _ignore if skip else None)
    if wide.field_that_loses_digits(known):
        for fragment in fragments:
            for block in blocks(storage, fragment):
                _refuse_wide_numbers(block.with_json_texts(known), known)
    if not known.num_fields:
        raise InputError(
            f"{storage.display_path(fragments[0].path)}: has no rows with a field; check source.path"
        )
    notes = (
        f"field {field_name(path)!r} {what}: kept as JSON text, of which templates see what it says"
        for path, what in mixed.items()
    )
    return JsonlReader(storage, pa.schema(list(final_type(known))), known, tuple(notes), skip)


def _with_block(
    known: Any, block: LineBlock, wide: WideNumbers, mixed: Mixed, leave_out: LeaveOut | None
) -> Any:
    """The types known so far and those of a block, put together."""
    readable = block.with_json_texts(known)
    try:
        table = _parse_block(readable, None, leave_out, likely=plain_type(known))
    except _MixedTypes as found:
        mixed |= found.mixed
        return _with_block(merge_types(known, found.type_, (), mixed), block, wide, mixed, leave_out)
    known = merge_types(known, as_text(pa.struct(list(table.schema))), (), mixed)
    if any(wide.has_wide_doubles(part) for part in table.to_struct_array().chunks):
        _refuse_wide_numbers(block.with_json_texts(known), known)
    return known


def _ignore(line: BadLine) -> None:
    """For the first pass, which looks at types only: the second one counts what is left out."""


def _parse_block(block: LineBlock, schema: Any, leave_out: LeaveOut | None, likely: Any = ()) -> Any:
    """The block as a table, one row for each line that is not blank.

    Without a schema, types are inferred; `likely` fields save two fifths of the time where they fit. Lines
    are only looked at one by one when the block as a whole does not parse.
    """
    with suppress(ValueError, pa.ArrowException):
        return _parse_whole(block, schema, likely)
    lines = list(_good_lines(block.lines(), _check_object, leave_out))
    if schema is None:
        _find_mixed(lines)
    lines = list(_readable_by_arrow(lines, leave_out))
    try:
        return _table(lines, schema)
    except (ValueError, pa.ArrowException) as error:
        _refuse_other_types(lines, pa.struct(list(schema or ())))
        raise InputError(
            f"{block.path}: line {block.line} or after: {one_line(error)}; correct it"
        ) from error


def _parse_whole(block: LineBlock, schema: Any, likely: Any) -> Any:
    """The block as Arrow reads it. ValueError or ArrowException where it cannot, or would end the process."""
    if may_be_too_deep(block.data) and any(map(is_too_deep, block.data.split(b"\n"))):
        raise ValueError(_TOO_DEEP)
    data = b"\n" + block.data
    rows = data.count(b"\n") - len(_BLANK_LINE.findall(data))
    if schema is None and len(likely):
        with suppress(ValueError, pa.ArrowException):
            return _parse_exactly(block.data, rows, pa.schema(list(likely)), unknown_fields="infer")
    return _parse_exactly(block.data, rows, schema)


def _table(lines: Sequence[LineBlock], schema: Any) -> Any:
    return _parse_exactly(b"\n".join(line.data for line in lines), len(lines), schema)


def _parse_exactly(data: bytes, rows: int, schema: Any, unknown_fields: str = "ignore") -> Any:
    """The lines as a table; ValueError where Arrow makes another number of rows of them, as of two objects in a line."""
    str(data, "utf-8")  # Arrow takes bytes that are no UTF-8 into a text column as they are
    if not rows:
        return (schema or pa.schema([])).empty_table()
    table = pa_json.read_json(
        pa.BufferReader(data),
        pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        pa_json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else unknown_fields
        ),
    )
    if table.num_rows != rows:
        raise ValueError(f"{table.num_rows} objects in {rows} lines")
    return table


def _good_lines(
    lines: Iterable[LineBlock], check: Callable[[bytes], None], leave_out: LeaveOut | None
) -> Iterator[LineBlock]:
    for line in lines:
        try:
            check(line.data)
        except (ValueError, pa.ArrowException) as error:
            reason = _reason(error)
            if leave_out is None:
                raise InputError(
                    f"{line.path}: line {line.line}: {reason}; {_advice(line, error)}"
                ) from error
            leave_out(BadLine(line.path, line.line, reason))
        else:
            yield line


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text at byte {error.start + 1}"
    return one_line(error).removeprefix("JSON parse error: ").removesuffix(" in row 0").removesuffix(".")


def _advice(line: LineBlock, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        likely = likely_encoding(line.data)
        return f"it looks like {likely}: write the file as UTF-8 (iconv -f {likely} -t utf-8)"
    instead = "the inner value as text in quotes" if _TOO_DEEP in str(error) else "one JSON object a line"
    return f"write {instead}, or set source.bad_lines: skip"


def _readable_by_arrow(lines: Sequence[LineBlock], leave_out: LeaveOut | None) -> Iterator[LineBlock]:
    """The lines Arrow can take; some that are JSON it cannot, such as one with a name twice."""
    for window in _windows(lines):
        try:
            _table(window, None)
        except (ValueError, pa.ArrowException):
            yield from _good_lines(window, _check_readable, leave_out)
        else:
            yield from window


def _windows(lines: Sequence[LineBlock]) -> Iterator[Sequence[LineBlock]]:
    """A few lines at a time: asking Arrow about one costs as much as about fifty."""
    return (lines[start : start + _WINDOW_LINES] for start in range(0, len(lines), _WINDOW_LINES))


def _check_object(data: bytes) -> None:
    if is_too_deep(data):
        raise ValueError(_TOO_DEEP)
    if not isinstance(json.loads(str(data, "utf-8")), dict):
        raise ValueError("not an object" if not data.lstrip().startswith(b"[") else "an array, not an object")  # noqa: TRY004 - one kind of error for whatever is wrong with a line


def _check_readable(data: bytes) -> None:
    _parse_exactly(data, 1, None)


def _find_mixed(lines: Iterable[LineBlock]) -> None:
    """Raise _MixedTypes when a field is of several types in these lines."""
    type_, mixed = pa.struct([]), Mixed()
    for line in lines:
        with suppress(ValueError):  # refused, or left out, when Arrow reads it
            type_ = merge_types(type_, type_of(parsed(line.data), (), mixed), (), mixed)
    if mixed:
        raise _MixedTypes(type_, mixed)


def _refuse_other_types(lines: Iterable[LineBlock], known: Any) -> None:
    """Raise InputError for the first line that does not have the types that the file had when it was opened."""
    for line in lines:
        mixed = Mixed()
        with suppress(ValueError):
            merge_types(known, type_of(parsed(line.data), (), mixed), (), mixed)
        for path, what in mixed.items():
            raise InputError(
                f"{line.path}: line {line.line}: field {field_name(path)!r} {what}; run the same command again"
            )


def _refuse_wide_numbers(block: LineBlock, known: Any) -> None:
    """Raise InputError for the first whole number that would lose digits."""
    for line in block.lines():
        try:
            path = field_with_wide_number(str(line.data, "utf-8"), known)
        except (ValueError, RecursionError):
            continue  # a bad line, left out or refused elsewhere
        if path:
            raise InputError(
                f"{line.path}: line {line.line}: field {field_name(path)!r} holds a whole number too large to be kept exactly; "
                "write it as text in quotes"
            )
