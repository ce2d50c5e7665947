"""Types of JSON Lines: what Arrow infers of a block, put together over a whole dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Path = tuple[str, ...]

_EXACT = 1 << 53  # up to here a double holds every whole number
_INT64 = range(-(1 << 63), 1 << 63)


class Conflict(Exception):
    """Two types that one field cannot have together."""

    def __init__(self, path: Path, known: Any, new: Any) -> None:
        super().__init__(f"field {dotted(path)!r} is {_named(new)}, but {_named(known)} before")


def merge(known: Any, new: Any, path: Path = ()) -> Any:
    """The type that holds both; whole numbers and decimals make float64. Raises Conflict."""
    if known == new or pa.types.is_null(new):
        return known
    if pa.types.is_null(known):
        return new
    if pa.types.is_struct(known) and pa.types.is_struct(new):
        fields = {item.name: item.type for item in known}
        for item in new:
            fields[item.name] = merge(fields.get(item.name, pa.null()), item.type, (*path, item.name))
        return pa.struct(list(fields.items()))
    if pa.types.is_list(known) and pa.types.is_list(new):
        return pa.list_(merge(known.value_type, new.value_type, (*path, "[]")))
    if {known, new} == {pa.int64(), pa.float64()}:
        return pa.float64()
    raise Conflict(path, known, new)


def as_text(type_: Any) -> Any:
    """Arrow's inference with text kept as text: it takes strings that look like a time for one."""
    return _mapped(type_, lambda leaf: pa.string() if pa.types.is_timestamp(leaf) else leaf)


def settled(type_: Any) -> Any:
    """The type to read with: a field that is always null becomes text, as Parquet readers expect one.

    A struct without fields gets one, `_empty`, always null: Parquet cannot store it otherwise.
    """
    if pa.types.is_struct(type_) and not type_.num_fields:
        return pa.struct([("_empty", pa.string())])
    return _mapped(type_, lambda leaf: pa.string() if pa.types.is_null(leaf) else leaf, settled)


def _mapped(type_: Any, leaf: Any, again: Any = None) -> Any:
    again = again or (lambda inner: _mapped(inner, leaf))
    if pa.types.is_struct(type_):
        return pa.struct([(item.name, again(item.type)) for item in type_])
    if pa.types.is_list(type_):
        return pa.list_(again(type_.value_type))
    return leaf(type_)


@dataclass
class WideNumbers:
    """Watches for whole numbers that would lose digits as a double.

    Arrow reads 2**64 as a double without a word, and a field that holds 2**53 + 1 in one line and 0.5 in
    another becomes one. Both have to be found before a wrong id is posted.
    """

    paths: set[Path] = field(default_factory=set)

    def suspects(self, struct: Any) -> bool:
        """Note wide int64 fields of a block; true when a float64 field holds values that wide."""
        found = False
        for path, values in _leaves(struct, ()):
            if pa.types.is_int64(values.type) and _widest(values) >= _EXACT:
                self.paths.add(path)
            elif pa.types.is_float64(values.type) and _widest(values) >= _EXACT:
                found = True
        return found

    def lost(self, type_: Any, path: Path = ()) -> Path | None:
        """A field that became float64 although it holds whole numbers too wide for it."""
        if pa.types.is_struct(type_):
            found = (self.lost(item.type, (*path, item.name)) for item in type_)
            return next((hit for hit in found if hit), None)
        if pa.types.is_list(type_):
            return self.lost(type_.value_type, (*path, "[]"))
        return path if pa.types.is_float64(type_) and path in self.paths else None


@dataclass(frozen=True)
class _Wide:
    """Stands for a whole number that a double cannot hold, or (`anywhere`) an int64 neither."""

    anywhere: bool


def wide_field(line: str, type_: Any) -> Path | None:
    """The field of a line whose whole number does not survive: past int64, or inexact in a float64 field."""

    def parse(digits: str) -> Any:
        # Python refuses to convert thousands of digits; JSON has no leading zeros, so length tells.
        if len(digits) > 20 or int(digits) not in _INT64:
            return _Wide(anywhere=True)
        return 0 if int(float(digits)) == int(digits) else _Wide(anywhere=False)

    return _find_wide(json.loads(line, parse_int=parse), type_, ())


def _find_wide(value: Any, type_: Any, path: Path) -> Path | None:
    hits: Iterator[Path | None]
    if isinstance(value, _Wide):
        return path if value.anywhere or pa.types.is_float64(type_) else None
    if isinstance(value, dict) and pa.types.is_struct(type_):
        inner = {item.name: item.type for item in type_}
        hits = (_find_wide(v, inner.get(k, pa.null()), (*path, k)) for k, v in value.items())
    elif isinstance(value, list) and pa.types.is_list(type_):
        hits = (_find_wide(v, type_.value_type, (*path, "[]")) for v in value)
    else:
        return None
    return next((hit for hit in hits if hit), None)


def _leaves(values: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if pa.types.is_struct(values.type):
        for index in range(values.type.num_fields):
            yield from _leaves(values.field(index), (*path, values.type.field(index).name))
    elif pa.types.is_list(values.type):
        yield from _leaves(values.values, (*path, "[]"))
    else:
        yield path, values


def _widest(values: Any) -> float:
    ends = pc.min_max(values).as_py()
    return float(max(abs(ends["min"] or 0), abs(ends["max"] or 0)))


def dotted(path: Path) -> str:
    return ".".join(path).replace(".[]", "[]")


def _named(type_: Any) -> str:
    if pa.types.is_struct(type_):
        return "an object"
    if pa.types.is_list(type_):
        return "an array"
    if pa.types.is_boolean(type_):
        return "true or false"
    return "text" if pa.types.is_string(type_) else "a number"
