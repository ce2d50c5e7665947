"""Parquet's VARIANT, a column of values of any shape, as JSON text.

Format: https://github.com/apache/parquet-format/blob/master/VariantEncoding.md and VariantShredding.md. Binary becomes
base64, dates and times ISO 8601, decimals numbers as written, numbers that JSON does not have null.
"""

from __future__ import annotations

import base64
import datetime as dt
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import orjson
import pyarrow as pa

from tasks.stages.arrow_columns import strings

_MISSING: Final = object()
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_OBJECT, _SHORT_TEXT, _PRIMITIVE = 2, 1, 0
_CONSTANTS = {0: None, 1: True, 2: False}
_INTEGERS = {3: 1, 4: 2, 5: 4, 6: 8}
_DECIMALS = {8: 4, 9: 8, 10: 16}


def json_of_variants(column: pa.Array) -> pa.Array:
    """The JSON text of each variant of a column, null where it is none. ValueError for bytes that are no variant."""
    try:
        return strings([None if each is None else _json(each) for each in column.to_pylist()])
    except (LookupError, TypeError, ArithmeticError, struct.error, RecursionError) as error:
        raise ValueError(f"not a variant: {type(error).__name__}") from error


def _json(cell: Mapping[str, Any]) -> str:
    value = _value(cell, _field_names(cell["metadata"]))
    return orjson.dumps(None if value is _MISSING else value, default=_as_json).decode()


def _as_json(value: Any) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat()  # of pandas, for nanoseconds


def _value(group: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of a group {value, typed_value}: what is typed has columns of its own, the rest is in the bytes."""
    rest = _MISSING if group.get("value") is None else _decoded(group["value"], 0, names)
    typed = group.get("typed_value")
    if typed is None:
        return rest
    if isinstance(typed, list):
        return [_value(each, names) for each in typed]
    if not isinstance(typed, dict):
        return typed
    fields = {name: _value(each, names) for name, each in typed.items()}
    known = {name: value for name, value in fields.items() if value is not _MISSING}
    return known | rest if isinstance(rest, dict) else known


def _field_names(metadata: bytes) -> list[str]:
    size = (metadata[0] >> 6) + 1
    count = _unsigned(metadata, 1, size)
    first = 1 + size * (count + 2)
    ends = [first + _unsigned(metadata, 1 + size * (place + 1), size) for place in range(count + 1)]
    return [metadata[start:end].decode() for start, end in pairwise(ends)]


def _unsigned(data: bytes, start: int, size: int) -> int:
    if start + size > len(data):
        raise IndexError
    return int.from_bytes(data[start : start + size], "little")


def _decoded(data: bytes, at: int, names: Sequence[str]) -> Any:
    """The value that begins at a place."""
    kind, header = data[at] & 3, data[at] >> 2
    if kind == _PRIMITIVE:
        return _primitive(header, data, at + 1)
    if kind == _SHORT_TEXT:
        return data[at + 1 : at + 1 + header].decode()
    is_object = kind == _OBJECT
    offset_size, id_size = (header & 3) + 1, ((header >> 2 & 3) + 1) * is_object
    count_size = 4 if header >> (4 if is_object else 2) & 1 else 1
    count = _unsigned(data, at + 1, count_size)
    ids = at + 1 + count_size
    offsets = ids + count * id_size
    first = offsets + (count + 1) * offset_size
    places = [_unsigned(data, offsets + n * offset_size, offset_size) for n in range(count)]
    items = [_decoded(data, first + place, names) for place in places]
    if not is_object:
        return items
    keys = [names[_unsigned(data, ids + n * id_size, id_size)] for n in range(count)]
    return dict(zip(keys, items, strict=True))


def _primitive(kind: int, data: bytes, at: int) -> Any:
    if kind in _CONSTANTS:
        return _CONSTANTS[kind]
    if kind in _INTEGERS:
        return _signed(data, at, _INTEGERS[kind])
    if kind in _DECIMALS:
        return Decimal(_signed(data, at + 1, _DECIMALS[kind])).scaleb(-data[at])
    return _PRIMITIVES[kind](data, at)


def _signed(data: bytes, start: int, size: int) -> int:
    number = _unsigned(data, start, size)
    return number - (1 << 8 * size) if number >> (8 * size - 1) else number


def _sized(data: bytes, at: int) -> bytes:
    return data[at + 4 : at + 4 + _unsigned(data, at, 4)]


def _moment(data: bytes, at: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=_signed(data, at, 8))


def _nanoseconds(data: bytes, at: int) -> str:
    whole, nanos = divmod(_signed(data, at, 8), 10**9)
    return f"{(_EPOCH + dt.timedelta(seconds=whole)).replace(tzinfo=None).isoformat()}.{nanos:09d}"


_PRIMITIVES: dict[int, Callable[[bytes, int], Any]] = {
    7: lambda data, at: struct.unpack_from("<d", data, at)[0],
    11: lambda data, at: dt.date(1970, 1, 1) + dt.timedelta(days=_signed(data, at, 4)),
    12: _moment,
    13: lambda data, at: _moment(data, at).replace(tzinfo=None),
    14: lambda data, at: struct.unpack_from("<f", data, at)[0],
    15: _sized,
    16: lambda data, at: _sized(data, at).decode(),
    17: lambda data, at: (_EPOCH + dt.timedelta(microseconds=_unsigned(data, at, 8))).time(),
    18: lambda data, at: f"{_nanoseconds(data, at)}+00:00",
    19: _nanoseconds,
    20: lambda data, at: uuid.UUID(bytes=data[at : at + 16]),
}
