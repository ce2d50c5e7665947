"""What Parquet says of a column and Arrow has no type for: how it is read instead, and the note that says so."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from tasks.stages.arrow_columns import JSON_TEXT, strings
from tasks.stages.read.parquet_variant import json_of_variants
from tasks.stages.read.widening import is_list

_READ_AS = {
    "ENUM": "text",
    "INTERVAL": "ISO 8601 text, such as P1M2DT3S",
    "VARIANT": "JSON text, of which templates see what it says",
    "TIME": "a time in UTC without a zone",
    "GEOMETRY": "binary (WKB)",
    "GEOGRAPHY": "binary (WKB)",
    "BSON": "binary",
}
_SHOWN = {"TIME": "TIME with a zone"}
_VARIANT = re.compile(r"^  \w+ group field_id=-?\d+ (.+) \(Variant\(\d+\)\) \{$", re.MULTILINE)
_INTERVAL = struct.Struct("<III")  # months, days, milliseconds


def annotated_schema(file: Any) -> tuple[Any, dict[str, tuple[str, ...]]]:
    """The schema of a ParquetFile with the types that its columns are read with, and the notes about each column."""
    variants = frozenset(_VARIANT.findall(str(file.schema)))  # pyarrow tells it nowhere else
    kinds = iter(_leaf_kinds(file.schema))
    fields, notes = [], {}
    for field in file.schema_arrow:
        own = list(islice(kinds, _leaves(field.type)))
        if field.name in variants:
            own = ["VARIANT"]
            field = pa.field(field.name, pa.string(), field.nullable, JSON_TEXT)
        elif pa.types.is_fixed_size_binary(field.type) and own == ["INTERVAL"]:
            field = field.with_type(pa.string())
        elif "ENUM" in own:
            field = field.with_type(_with_text(field.type, iter(own)))
        fields.append(field)
        notes[field.name] = tuple(_note(field, kind) for kind in sorted(_READ_AS.keys() & own))
    return pa.schema(fields, file.schema_arrow.metadata), notes


def read_as(column: Any, type_: Any) -> Any:
    """A column as the type that its dataset has. ArrowInvalid or ValueError for what that type cannot hold exactly."""
    if column.type == type_:
        return column
    if pa.types.is_string(type_) and pa.types.is_struct(column.type):
        return json_of_variants(column)
    if pa.types.is_string(type_) and pa.types.is_fixed_size_binary(column.type):
        return strings([None if each is None else _duration(each) for each in column.to_pylist()])
    return column.cast(type_)


def _leaf_kinds(leaves: Any) -> Iterator[str]:
    for number in range(len(leaves)):
        leaf = leaves.column(number)
        kind = leaf.logical_type
        if kind.type == "TIME" and not json.loads(kind.to_json())["isAdjustedToUTC"]:
            yield ""  # what Arrow's times are
        else:
            yield str(
                leaf.converted_type if kind.type == "UNKNOWN" else kind.type
            )  # INTERVAL has only the former


def _note(field: Any, kind: str) -> str:
    read = "binary" if kind == "INTERVAL" and not pa.types.is_string(field.type) else _READ_AS[kind]
    shown = _SHOWN.get(kind, kind)
    return (
        f"column {field.name!r} is Parquet's {shown}, which Arrow does not have: read and written as {read}"
    )


def _leaves(type_: Any) -> int:
    """How many columns Parquet has for a type."""
    if isinstance(type_, pa.BaseExtensionType):
        return _leaves(type_.storage_type)
    if not pa.types.is_nested(type_):
        return 1
    return sum(_leaves(type_.field(place).type) for place in range(type_.num_fields))


def _with_text(type_: Any, kinds: Iterator[str]) -> Any:
    """The type with text where it is ENUM; takes one of `kinds` for each leaf."""
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_with_text(field.type, kinds)) for field in type_])
    if pa.types.is_map(type_):
        key = type_.key_field.with_type(_with_text(type_.key_type, kinds))
        return pa.map_(key, type_.item_field.with_type(_with_text(type_.item_type, kinds)))
    if is_list(type_):
        return pa.list_(type_.value_field.with_type(_with_text(type_.value_type, kinds)))
    if isinstance(type_, pa.BaseExtensionType):
        for _ in range(_leaves(type_)):
            next(kinds)
        return type_
    return pa.string() if next(kinds) == "ENUM" and pa.types.is_binary(type_) else type_


def _duration(raw: bytes) -> str:
    months, days, milliseconds = _INTERVAL.unpack(raw)
    date = f"{months}M" * bool(months) + f"{days}D" * bool(days)
    seconds = f"{milliseconds // 1000}.{milliseconds % 1000:03d}".rstrip("0").rstrip(".")
    return f"P{date}T{seconds}S" if milliseconds or not date else f"P{date}"
