"""Turn cells of the dataset into Python values for templates, and those into text.

The rules hold wherever a value becomes text: `{{ x }}`, `a ~ b` and text filters such as `upper` or `trim`.

| cell | text |
|---|---|
| null, NaN | nothing |
| bool | `true`, `false` |
| integer | as written |
| float | the shortest text that reads back as the same number; a float32 0.1 is `0.1` |
| decimal | plain notation as written: `12.50`, `1000`, never `1E+3` |
| date, time, timestamp | ISO 8601, the zone's offset where there is one, down to the nanosecond where there are any |
| duration | ISO 8601: `PT1M30S`, `-P1DT0.5S` |
| list, struct, map | JSON |
| JSON text: a field of mixed types, Parquet's VARIANT | as what it says: text, a number, a list |
| binary | an error, and the row is skipped: write `{{ x | b64encode }}` |

Inside JSON (containers, and the `tojson` filter) null and NaN are `null`, decimals are numbers as written, binary is
base64, dates and durations are the texts above; characters are never escaped for HTML. Nanoseconds inside lists,
structs and maps are cut to microseconds. A map whose keys are structs or lists, or that has a key twice, is a list of
`{"key": …, "value": …}`.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tasks.stages.arrow_columns import JSON_TEXT, is_empty_object

Cell = Any
"""A Python value as `pyarrow` gives it: the values of a table have no narrower common type."""


# With the nanoseconds that the standard library's classes cannot hold: pandas, which can, need not be imported for it.
class _NanosecondTimestamp(dt.datetime):
    nanos = 0

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        text = super().isoformat(sep, "microseconds" if timespec == "auto" else timespec)
        if timespec != "auto":
            return text
        microsecond_chars = len("2026-01-01T00:00:00.000000")
        return f"{text[:microsecond_chars]}{self.nanos:03d}{text[microsecond_chars:]}"


class _NanosecondTime(dt.time):
    nanos = 0

    def isoformat(self, timespec: str = "auto") -> str:
        text = super().isoformat("microseconds" if timespec == "auto" else timespec)
        return f"{text}{self.nanos:03d}" if timespec == "auto" else text


class _NanosecondDuration(dt.timedelta):
    nanos = 0


class NotSendable(ValueError):
    """A row's value is none that the request takes; the message says what to write instead."""


def to_text(value: Cell) -> Any:
    """`value` by the rules above; what has no rule (a template's own objects) is returned for Jinja2 to print."""
    if type(value) is str:
        return value
    formatter = _FORMATTERS.get(type(value))
    return value if formatter is None else formatter(value)


def to_json(value: Cell, indent: bool = False) -> str:
    """`value` as JSON text, by the rules above."""
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        return orjson.dumps(value, default=_json_default, option=option).decode()
    except TypeError:
        return orjson.dumps(_with_text_keys(value), default=_json_default, option=option).decode()


def b64encode(value: bytes | str) -> str:
    """Standard base64 of binary, or of a text's UTF-8."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def to_python(column: pa.Array, field: pa.Field | None = None) -> list[Cell]:
    """The column's values, null as None. `ValueError` or `OverflowError` where Python has no such value.

    Text that its `field` says is JSON (`JSON_TEXT`) is what the JSON says.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _list_views(column)
    if kind in _NANOSECONDS or (pa.types.is_timestamp(kind) and kind.unit == "ns"):
        return _with_nanoseconds(column)
    readable = _without_nanos(kind)
    values: list[Cell] = (column if readable == kind else column.cast(readable, safe=False)).to_pylist()
    convert = _converter(kind) if field is None else _converter_of(field)
    return values if convert is None else [None if value is None else convert(value) for value in values]


def _float(value: float) -> str:
    return repr(value) if value == value else ""  # NaN differs from itself


def _decimal(value: Decimal) -> str:
    return "" if value.is_nan() else format(value, "f")


def _duration(value: dt.timedelta) -> str:
    nanos = value // dt.timedelta(microseconds=1) * 1000 + getattr(value, "nanos", 0)
    sign, (whole, nanos) = "-" if nanos < 0 else "", divmod(abs(nanos), 10**9)
    days, whole = divmod(whole, 86_400)
    seconds = f"{whole % 60}.{nanos:09d}".rstrip("0").rstrip(".")
    clock = (("H", str(whole // 3600)), ("M", str(whole // 60 % 60)), ("S", seconds))
    time = "".join(f"{amount}{unit}" for unit, amount in clock if amount != "0")
    day = f"{days}D" if days else ""
    return f"{sign}P{day}T{time}" if time else f"{sign}P{day or 'T0S'}"


def _binary(_: bytes) -> str:
    raise TypeError("binary value; write {{ column | b64encode }} to send it as base64")


def _with_text_keys(value: Cell) -> Cell:
    """The value with keys of maps that orjson does not know as the texts that JSON has for them."""
    if isinstance(value, dict):
        return {_text_key(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list | tuple) else value


def _text_key(key: Cell) -> Cell:
    return b64encode(key) if isinstance(key, bytes) else to_text(key)


def _json_default(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(_decimal(value) or "null")
    if isinstance(value, bytes):
        return b64encode(value)
    return str(to_text(value))


# How each type reads as text.
_FORMATTERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "",
    bool: lambda value: "true" if value else "false",
    int: str,
    float: _float,
    Decimal: _decimal,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    dt.datetime: dt.datetime.isoformat,
    _NanosecondTimestamp: _NanosecondTimestamp.isoformat,
    _NanosecondTime: _NanosecondTime.isoformat,
    dt.timedelta: _duration,
    _NanosecondDuration: _duration,
    bytes: _binary,
    list: to_json,
    tuple: to_json,
    dict: to_json,
}


def _list_views(column: pa.Array) -> list[Cell]:
    """The values of lists that lie anywhere; not by a cast, which pyarrow 26 makes wrong of a slice."""
    items = to_python(column.values, column.type.value_field)
    places = zip(
        column.is_valid().to_pylist(), column.offsets.to_pylist(), column.sizes.to_pylist(), strict=True
    )
    return [items[start : start + size] if is_valid else None for is_valid, start, size in places]


def _with_nanoseconds(column: pa.Array) -> list[Cell]:
    """The values of a column in nanoseconds, exactly."""
    nanos = column.cast(pa.int64()).to_pylist()
    kind = column.type
    if pa.types.is_timestamp(kind):
        micros = pc.floor_temporal(column, unit="microsecond").cast(pa.timestamp("us", kind.tz)).to_pylist()
    else:
        micros = [None if each is None else dt.timedelta(microseconds=each // 1000) for each in nanos]
    make = _NANOSECONDS.get(kind, _timestamp)
    return [
        None if exact is None else make(value, exact % 1000)
        for value, exact in zip(micros, nanos, strict=True)
    ]


def _timestamp(value: dt.datetime, nanos: int) -> dt.datetime:
    if not nanos:
        return value
    exact = _NanosecondTimestamp(*value.timetuple()[:6], value.microsecond, value.tzinfo, fold=value.fold)
    exact.nanos = nanos
    return exact


def _time(value: dt.timedelta, nanos: int) -> dt.time:
    time = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + value).time()
    if not nanos:
        return time
    exact = _NanosecondTime(time.hour, time.minute, time.second, time.microsecond)
    exact.nanos = nanos
    return exact


def _duration_value(value: dt.timedelta, nanos: int) -> dt.timedelta:
    if not nanos:
        return value
    exact = _NanosecondDuration(value.days, value.seconds, value.microseconds)
    exact.nanos = nanos
    return exact


_NANOSECONDS: dict[pa.DataType, Callable[[dt.timedelta, int], Cell]] = {
    pa.time64("ns"): _time,
    pa.duration("ns"): _duration_value,
}


def _without_nanos(kind: pa.DataType) -> pa.DataType:
    """`kind` with microseconds for nanoseconds: pyarrow would import pandas for those, or fail without it."""
    types = pa.types
    if types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if types.is_dictionary(kind):
        return _without_nanos(kind.value_type)
    if types.is_map(kind):
        return pa.map_(_without_nanos(kind.key_type), _without_nanos(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_without_nanos(field.type)) for field in kind])
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_without_nanos(kind.value_type)), kind.list_size)
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_nanos(kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_without_nanos(kind.value_type)))
    return kind


def _converter_of(field: pa.Field) -> Callable[[Any], Cell] | None:
    is_json = pa.types.is_string(field.type) and JSON_TEXT.items() <= (field.metadata or {}).items()
    return _from_json if is_json else _converter(field.type)


def _from_json(text: str) -> Cell:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _converter(kind: pa.DataType) -> Callable[[Any], Cell] | None:
    """A function from pyarrow's Python value to ours: short floats, dicts for maps. None where they are the same."""
    types = pa.types
    if types.is_float32(kind):
        # Python's float of a float32 0.1 prints as 0.10000000149011612; numpy knows the short text.
        return lambda value: float(str(np.float32(value)))
    if types.is_float16(kind):
        return lambda value: float(str(np.float16(value)))
    if types.is_dictionary(kind):
        return _converter(kind.value_type)
    if types.is_map(kind):
        key, item = _nullable(_converter(kind.key_type)), _nullable(_converter(kind.item_type))
        is_nested = types.is_nested(kind.key_type)
        return lambda pairs: _map([(key(k), item(v)) for k, v in pairs], is_nested)
    if types.is_struct(kind):
        if is_empty_object(kind):
            return lambda _: {}
        converters = {field.name: convert for field in kind if (convert := _converter_of(field)) is not None}
        if not converters:
            return None
        fields = {name: _nullable(convert) for name, convert in converters.items()}
        return lambda value: {k: fields[k](v) if k in fields else v for k, v in value.items()}
    if any(is_kind(kind) for is_kind in _LISTS):
        inner = _converter_of(kind.value_field)
        if inner is None:
            return None
        each = _nullable(inner)
        return lambda values: [each(value) for value in values]
    return None


_LISTS: tuple[Callable[[pa.DataType], bool], ...] = (
    *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    *(pa.types.is_list_view, pa.types.is_large_list_view),
)


def _map(pairs: list[tuple[Cell, Cell]], is_nested: bool) -> Cell:
    """A map as a dict, or as a list of pairs where a dict would lose some or has no such keys."""
    values = {} if is_nested else dict(pairs)
    if len(values) == len(pairs):
        return values
    return [{"key": key, "value": value} for key, value in pairs]


def _nullable(convert: Callable[[Any], Cell] | None) -> Callable[[Any], Cell]:
    """The same for values that may be None."""
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)
