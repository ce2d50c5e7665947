"""The type that holds the values of two files' columns exactly, where there is one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_UNITS = ("s", "ms", "us", "ns")
_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


def widened(one: Any, other: Any) -> Any:
    """The narrowest type for both; None where there is none.

    Whole numbers and doubles make a double: a number that it cannot hold exactly is refused when it is read.
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_dictionary(one) or pa.types.is_dictionary(other):
        return widened(_plain(one), _plain(other))
    for rule in (_number, _text, _moment, _nested):
        common = rule(one, other)
        if common is not None:
            return common
    return None


def _plain(type_: Any) -> Any:
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
    types = pa.types
    if types.is_timestamp(one) and types.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp(max(one.unit, other.unit, key=_UNITS.index), one.tz)
    return None


def _nested(one: Any, other: Any) -> Any:
    types = pa.types
    if any(types.is_list(each) or types.is_large_list(each) for each in (one, other)):
        return _list(one, other)
    if types.is_struct(one) and types.is_struct(other) and _names(one) == _names(other):
        fields = [widened(a.type, b.type) for a, b in zip(one, other, strict=True)]
        if None not in fields:
            return pa.struct(list(zip(_names(one), fields, strict=True)))
    return None


def _list(one: Any, other: Any) -> Any:
    types = pa.types
    if not all(types.is_list(each) or types.is_large_list(each) for each in (one, other)):
        return None
    value = widened(one.value_type, other.value_type)
    if value is None:
        return None
    return pa.list_(value) if types.is_list(one) and types.is_list(other) else pa.large_list(value)


def _names(struct: Any) -> list[str]:
    return [field.name for field in struct]
