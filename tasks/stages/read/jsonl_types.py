"""Merge the types that Arrow infers from each block of JSON Lines into those of the whole dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.stages.arrow_columns import EMPTY_OBJECT, JSON_TEXT

Path = tuple[str, ...]

_EXACT_IN_DOUBLE = 1 << 53  # up to here a double holds every whole number
_TYPES = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}
_INT64 = range(-(1 << 63), 1 << 63)


MIXED = pa.json_(pa.string())
"""Stands for a field that is text in one line and an object in the next: it is kept as JSON text."""


def merge_types(known: Any, new: Any, path: Path = (), mixed: dict[Path, str] | None = None) -> Any:
    """The type that holds both: whole numbers and decimals make float64, what has nothing in common makes MIXED.

    Fields that become MIXED are put into `mixed`, each with what it was.
    """
    if known in (new, MIXED) or pa.types.is_null(new):
        return known
    if new == MIXED or pa.types.is_null(known):
        return new
    if pa.types.is_struct(known) and pa.types.is_struct(new):
        fields = {item.name: item.type for item in known}
        for item in new:
            before = fields.get(item.name, pa.null())
            fields[item.name] = merge_types(before, item.type, (*path, item.name), mixed)
        return pa.struct(list(fields.items()))
    if pa.types.is_list(known) and pa.types.is_list(new):
        return pa.list_(merge_types(known.value_type, new.value_type, (*path, "[]"), mixed))
    if {known, new} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if mixed is not None:
        mixed[path] = f"is {_json_name(new)}, but {_json_name(known)} before"
    return MIXED


def type_of(value: Any, path: Path = (), mixed: dict[Path, str] | None = None) -> Any:
    """The type of a value that the json module read, as Arrow would infer it."""
    if isinstance(value, dict):
        return pa.struct([(name, type_of(item, (*path, name), mixed)) for name, item in value.items()])
    if isinstance(value, list):
        inner = pa.null()
        for item in value:
            inner = merge_types(inner, type_of(item, (*path, "[]"), mixed), (*path, "[]"), mixed)
        return pa.list_(inner)
    return _TYPES[type(value)]


def json_texts(type_: Any) -> Callable[[Any], Any] | None:
    """A function that puts JSON text in place of what is MIXED in a value of this type; None where nothing is."""
    if type_ == MIXED:
        return lambda value: (
            None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        )
    if pa.types.is_list(type_):
        each = json_texts(type_.value_type)
        return each and (lambda value: [each(item) for item in value] if isinstance(value, list) else value)
    if not pa.types.is_struct(type_):
        return None
    inner = {item.name: convert for item in type_ if (convert := json_texts(item.type))}

    def in_object(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: inner[name](item) if name in inner else item for name, item in value.items()}

    return in_object if inner else None


def parsed(line: bytes) -> Any:
    """A line as Python reads JSON. ValueError for what Arrow does not take: a name twice in an object."""
    return json.loads(str(line, "utf-8"), object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("an object has a name twice")
    return fields


def as_text(type_: Any) -> Any:
    """Arrow's inference with text kept as text: it takes strings that look like a time for one."""
    return _map_leaves(type_, lambda leaf: pa.string() if pa.types.is_timestamp(leaf) else leaf)


def final_type(type_: Any) -> Any:
    """The type to read with: a field that is always null becomes text, as Parquet readers expect one.

    A struct without fields gets `EMPTY_OBJECT`. What is MIXED is text that says of itself that it is JSON.
    """
    if pa.types.is_struct(type_):
        if not type_.num_fields:
            return pa.struct([EMPTY_OBJECT])
        return pa.struct([_final_field(item.name, item.type) for item in type_])
    if pa.types.is_list(type_):
        return pa.list_(_final_field("item", type_.value_type))
    return pa.string() if pa.types.is_null(type_) else type_


def _final_field(name: str, type_: Any) -> Any:
    if type_ == MIXED:
        return pa.field(name, pa.string(), metadata=JSON_TEXT)
    return pa.field(name, final_type(type_))


def plain_type(type_: Any) -> Any:
    """The type without marks: text where it is MIXED."""
    return _map_leaves(type_, lambda leaf: pa.string() if leaf == MIXED else leaf)


def _map_leaves(type_: Any, leaf: Any) -> Any:
    if pa.types.is_struct(type_):
        return pa.struct([(item.name, _map_leaves(item.type, leaf)) for item in type_])
    if pa.types.is_list(type_):
        return pa.list_(_map_leaves(type_.value_type, leaf))
    return leaf(type_)


@dataclass
class WideNumbers:
    """Watches for whole numbers that would lose digits as a double.

    Arrow reads 2**64 as a double without a word, and a field that holds 2**53 + 1 in one line and 0.5 in
    another becomes one. Both have to be found before a wrong id is posted.
    """

    paths: set[Path] = field(default_factory=set)

    def has_wide_doubles(self, struct: Any) -> bool:
        """Note the wide int64 fields of a block; whether a float64 field holds values that wide."""
        wide_double = False
        for path, values in _leaves(struct, ()):
            if pa.types.is_int64(values.type) and _widest(values) >= _EXACT_IN_DOUBLE:
                self.paths.add(path)
            elif pa.types.is_float64(values.type) and _widest(values) >= _EXACT_IN_DOUBLE:
                wide_double = True
        return wide_double

    def field_that_loses_digits(self, type_: Any, path: Path = ()) -> Path | None:
        """A field that became float64 although it holds whole numbers too wide for it."""
        if pa.types.is_struct(type_):
            paths = (self.field_that_loses_digits(item.type, (*path, item.name)) for item in type_)
            return next((found for found in paths if found), None)
        if pa.types.is_list(type_):
            return self.field_that_loses_digits(type_.value_type, (*path, "[]"))
        return path if pa.types.is_float64(type_) and path in self.paths else None


@dataclass(frozen=True)
class _WideNumber:
    """Stands for a whole number that a double cannot hold, or (`anywhere`) an int64 neither."""

    anywhere: bool


def field_with_wide_number(line: str, type_: Any) -> Path | None:
    """The field of a line whose whole number does not survive: past int64, or inexact in a float64 field."""

    def parse(digits: str) -> Any:
        # Python refuses to convert thousands of digits; JSON has no leading zeros, so length tells.
        if len(digits) > 20 or int(digits) not in _INT64:
            return _WideNumber(anywhere=True)
        return 0 if int(float(digits)) == int(digits) else _WideNumber(anywhere=False)

    return _find_wide(json.loads(line, parse_int=parse), type_, ())


def _find_wide(value: Any, type_: Any, path: Path) -> Path | None:
    paths: Iterator[Path | None]
    if isinstance(value, _WideNumber):
        return path if value.anywhere or pa.types.is_float64(type_) else None
    if isinstance(value, dict) and pa.types.is_struct(type_):
        types = {item.name: item.type for item in type_}
        paths = (_find_wide(item, types.get(name, pa.null()), (*path, name)) for name, item in value.items())
    elif isinstance(value, list) and pa.types.is_list(type_):
        paths = (_find_wide(item, type_.value_type, (*path, "[]")) for item in value)
    else:
        return None
    return next((found for found in paths if found), None)


def _leaves(values: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """The arrays at the ends of nested fields, each with its path."""
    if pa.types.is_struct(values.type):
        for index in range(values.type.num_fields):
            yield from _leaves(values.field(index), (*path, values.type.field(index).name))
    elif pa.types.is_list(values.type):
        yield from _leaves(values.values, (*path, "[]"))
    else:
        yield path, values


def _widest(values: Any) -> float:
    bounds = pc.min_max(values).as_py()
    return float(max(abs(bounds["min"] or 0), abs(bounds["max"] or 0)))


def field_name(path: Path) -> str:
    """A field as messages name it: `a.b[].c`."""
    return ".".join(path).replace(".[]", "[]")


def _json_name(type_: Any) -> str:
    if pa.types.is_struct(type_):
        return "an object"
    if pa.types.is_list(type_):
        return "an array"
    if pa.types.is_boolean(type_):
        return "true or false"
    return "text" if pa.types.is_string(type_) else "a number"
