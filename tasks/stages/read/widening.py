"""The type that holds the values of two files' columns exactly, where there is one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_UNITS = ("s", "ms", "us", "ns")
_DIGITS = 20  # of a whole number of 64 bits
_DIGITS_OF_128_BITS, _MOST_DIGITS = 38, 76
_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


def widened(one: Any, other: Any) -> Any:
    """The narrowest type for both; None where there is none.

    Whole numbers and doubles make a double: a number that it cannot hold exactly is refused when it is read.
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if (
        pa.types.is_dictionary(one)
        or pa.types.is_dictionary(other)
        or {one, other} == {pa.json_(), pa.string()}
    ):
        return widened(_plain(one), _plain(other))
    for rule in (_number, _decimal, _text, _moment, _nested):
        common = rule(one, other)
        if common is not None:
            return common
    return None


def _plain(type_: Any) -> Any:
    if type_ == pa.json_():
        return type_.storage_type
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _number(one: Any, other: Any) -> Any:
    types, pair = pa.types, (one, other)
    if all(map(types.is_integer, pair)):
        if types.is_signed_integer(one) == types.is_signed_integer(other):
            return max(pair, key=lambda type_: type_.bit_width)
        # A signed type holds an unsigned one that is narrower than itself.
        bits = max(each.bit_width * (1 if types.is_signed_integer(each) else 2) for each in pair)
        return next((signed for signed in _SIGNED if signed.bit_width == bits), None)
    if all(map(types.is_floating, pair)):
        return max(pair, key=lambda type_: type_.bit_width)
    if any(map(types.is_floating, pair)) and any(map(types.is_integer, pair)):
        return pa.float64()
    return None


def _decimal(one: Any, other: Any) -> Any:
    types, pair = pa.types, (one, other)
    if not any(map(types.is_decimal, pair)) or not all(
        types.is_decimal(each) or types.is_integer(each) for each in pair
    ):
        return None
    scale = max(each.scale if types.is_decimal(each) else 0 for each in pair)
    digits = scale + max(each.precision - each.scale if types.is_decimal(each) else _DIGITS for each in pair)
    if digits > _MOST_DIGITS:
        return None
    return pa.decimal128(digits, scale) if digits <= _DIGITS_OF_128_BITS else pa.decimal256(digits, scale)


def _text(one: Any, other: Any) -> Any:
    types, pair = pa.types, {one, other}
    if pair <= {pa.string(), pa.large_string(), pa.string_view()}:
        return pa.large_string()
    if pair <= {pa.binary(), pa.large_binary(), pa.binary_view()} or (
        types.is_fixed_size_binary(one) and types.is_fixed_size_binary(other)
    ):
        return pa.large_binary()
    return None


def _moment(one: Any, other: Any) -> Any:
    types, pair = pa.types, (one, other)
    if all(map(types.is_timestamp, pair)) and (one.tz is None) == (other.tz is None):
        zone = one.tz if one.tz == other.tz else "UTC"
        return pa.timestamp(_finest(pair), zone)
    if all(map(types.is_duration, pair)):
        return pa.duration(_finest(pair))
    if all(map(types.is_time, pair)):
        unit = _finest(pair)
        return pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit)
    return None


def _finest(types: tuple[Any, Any]) -> str:
    units: list[str] = [each.unit for each in types]
    return max(units, key=_UNITS.index)


def _nested(one: Any, other: Any) -> Any:
    types, pair = pa.types, (one, other)
    if all(map(is_list, pair)):
        return _list(one, other)
    if all(map(types.is_map, pair)):
        key, item = widened(one.key_type, other.key_type), widened(one.item_type, other.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if all(map(types.is_struct, pair)) and all(len(set(_names(each))) == each.num_fields for each in pair):
        return _struct(one, other)
    return None


def _struct(one: Any, other: Any) -> Any:
    """All fields of both; where one has none, it is null."""
    fields = {field.name: field.type for field in one}
    for field in other:
        fields[field.name] = widened(fields.get(field.name, pa.null()), field.type)
    return None if None in fields.values() else pa.struct(list(fields.items()))


def is_list(type_: Any) -> bool:
    """Whether a type is one of Parquet's lists."""
    types = pa.types
    return bool(types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_))


def _list(one: Any, other: Any) -> Any:
    value = widened(one.value_type, other.value_type)
    if value is None:
        return None
    if (
        pa.types.is_fixed_size_list(one)
        and pa.types.is_fixed_size_list(other)
        and one.list_size == other.list_size
    ):
        return pa.list_(value, one.list_size)
    return pa.large_list(value) if any(map(pa.types.is_large_list, (one, other))) else pa.list_(value)


def _names(struct: Any) -> list[str]:
    return [field.name for field in struct]
