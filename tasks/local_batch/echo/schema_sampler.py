"""Make up a value that satisfies a JSON Schema: what the echo answers when a row asks for structured output.

Covers what structured outputs allow, and a little more: types, enum, const, anyOf/oneOf/allOf, $ref (recursive ones
too), nested objects and arrays, required, lengths, bounds, multipleOf, formats. A `pattern` is only met when one of
a few obvious strings does.
"""

from __future__ import annotations

import math
import re
import zlib
from decimal import Decimal
from typing import Any, Final

from tasks.local_batch.echo.schema_merge import Schema, has_type, merge_schemas

# Below this level only what is required, by the shortest way to an end: schemas may be recursive.
_MAX_DEPTH: Final = 4
_TEXT_CHARS: Final = 80
_TRIES_AN_ITEM: Final = 20  # to find one that is not in a `uniqueItems` array yet
_COMBINATORS: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
# The type that a schema without `type` means, by the keywords it uses.
_TYPE_BY_KEYWORD: Final = (
    ("object", ("properties", "required", "additionalProperties", "minProperties")),
    ("array", ("items", "prefixItems", "minItems", "maxItems", "uniqueItems")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)
_FORMATS: Final = {
    "date-time": "2026-01-{day:02}T12:00:00Z",
    "date": "2026-01-{day:02}",
    "time": "12:00:{day:02}Z",
    "duration": "P{day}D",
    "email": "reader{day}@example.com",
    "hostname": "host{day}.example.com",
    "ipv4": "192.0.2.{day}",
    "ipv6": "2001:db8::{day}",
    "uri": "https://example.com/{day}",
    "uuid": "00000000-0000-4000-8000-0000000000{day:02}",
}
# Tried in turn for a `pattern`; making a string that matches any regular expression is another program.
_PATTERN_CANDIDATES: Final = (
    *("a", "A", "0", "aa", "AA", "00", "000", "abc", "ABC", "1234"),
    *("a-1", "A1", "2026-01-01", "#000000"),
)


class SchemaSampler:
    """Makes values for one schema. The same text gives the same value."""

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._heights: dict[int, float] = {}

    def sample(self, text: str) -> Any:
        """A value that satisfies the schema, with strings from `text` and choices by its hash."""
        return _Sample(self, text).value(self._root, 0)

    def resolve(self, schema: Any, depth: int, choice: int) -> Schema:
        """The schema without $ref, allOf, anyOf and oneOf; of alternatives, `choice` says which one is taken."""
        if not isinstance(schema, dict):
            return {}
        resolved: Schema = schema
        while not _COMBINATORS.isdisjoint(resolved):
            rest = {key: value for key, value in resolved.items() if key not in _COMBINATORS}
            parts = [self._target(resolved["$ref"])] if "$ref" in resolved else []
            parts += resolved.get("allOf", [])
            parts += [
                self._alternative(resolved[key], depth, choice)
                for key in ("anyOf", "oneOf")
                if resolved.get(key)
            ]
            for part in parts:
                rest = merge_schemas(rest, part)
            resolved = rest
        return resolved

    def _alternative(self, options: list[Any], depth: int, choice: int) -> Any:
        if depth >= _MAX_DEPTH:
            return min(options, key=lambda option: self._height(option, frozenset()))
        return options[choice % len(options)]

    def _target(self, ref: str) -> Any:
        """The schema at a JSON pointer such as #/$defs/Item; `{}` where there is none."""
        target: Any = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key, {}) if isinstance(target, dict) else {}
        return target

    def _height(self, schema: Any, above: frozenset[str]) -> float:
        """Levels that the smallest value of the schema needs; inf when it never ends.

        `above` are the $refs on the way here: one that comes again is a recursion.
        """
        if not isinstance(schema, dict):
            return 0
        if not above and id(schema) in self._heights:  # by identity: a dict cannot be hashed
            return self._heights[id(schema)]
        levels = [0.0]
        if "$ref" in schema:
            ref = schema["$ref"]
            levels.append(math.inf if ref in above else self._height(self._target(ref), above | {ref}))
        levels += [self._height(part, above) for part in schema.get("allOf", [])]
        levels += [
            min(self._height(option, above) for option in schema[key])
            for key in ("anyOf", "oneOf")
            if schema.get(key)
        ]
        properties = schema.get("properties", {})
        levels += [1 + self._height(properties.get(name), above) for name in schema.get("required", [])]
        if schema.get("minItems"):
            levels.append(1 + self._height(schema.get("items"), above))
        height = max(levels)
        if not above:
            self._heights[id(schema)] = height
        return height


class _Sample:
    """One value in the making: the text that strings come from, and the stream of numbers that choices come from."""

    def __init__(self, sampler: SchemaSampler, text: str) -> None:
        self._sampler = sampler
        self._text = text[:_TEXT_CHARS]
        self._state = zlib.crc32(text.encode())

    def _next(self) -> int:
        """The next number of a linear congruential generator (Knuth's MMIX constants).

        Seeding a `random.Random` for each row takes fifty times as long (13 µs, measured).
        """
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return self._state >> 33

    def value(self, schema: Any, depth: int) -> Any:
        flat = self._sampler.resolve(schema, depth, self._next())
        if "const" in flat:
            return flat["const"]
        kind = self._type(flat, depth)
        if "enum" in flat:
            options = [option for option in flat["enum"] if has_type(option, flat.get("type"))] or flat[
                "enum"
            ]
            return options[self._next() % len(options)]
        if kind == "object":
            return self._object(flat, depth)
        if kind == "array":
            return self._array(flat, depth)
        if kind in ("integer", "number"):
            return self._number(flat, whole=kind == "integer")
        if kind == "boolean":
            return self._next() % 2 == 0
        return None if kind == "null" else self._string(flat)

    def _type(self, flat: Schema, depth: int) -> str:
        kind = flat.get("type")
        if isinstance(kind, list):
            not_null = [name for name in kind if name != "null"]
            if not not_null or ("null" in kind and depth >= _MAX_DEPTH):
                return "null"
            return str(not_null[self._next() % len(not_null)])
        if isinstance(kind, str):
            return kind
        return next(
            (name for name, keywords in _TYPE_BY_KEYWORD if any(key in flat for key in keywords)), "string"
        )

    def _object(self, flat: Schema, depth: int) -> dict[str, Any]:
        properties = flat.get("properties", {})
        required = flat.get("required", [])
        names = [name for name in properties if name in required or depth < _MAX_DEPTH]
        most = flat.get("maxProperties", len(names))
        optional = [name for name in names if name not in required][: max(0, most - len(required))]
        names = [name for name in names if name in required or name in optional]
        other = flat.get("additionalProperties", {})
        names += [name for name in required if name not in properties]
        names += [f"extra{index}" for index in range(flat.get("minProperties", 0) - len(names))]
        return {name: self.value(properties.get(name, other), depth + 1) for name in names}

    def _array(self, flat: Schema, depth: int) -> list[Any]:
        prefix, items = flat.get("prefixItems", []), flat.get("items", {})
        count = self._item_count(flat, len(prefix), depth)
        unique = flat.get("uniqueItems")
        values: list[Any] = []
        for attempt in range(count * _TRIES_AN_ITEM):
            if len(values) == count:
                break
            value = self.value(prefix[len(values)] if len(values) < len(prefix) else items, depth + 1)
            if unique and isinstance(value, str) and "enum" not in items:
                value = self._string(items, salt=f"{attempt} ")
            if not unique or value not in values:
                values.append(value)
        return values

    def _item_count(self, flat: Schema, prefix_items: int, depth: int) -> int:
        optional = 0 if depth >= _MAX_DEPTH else 1 + self._next() % 2
        count: int = max(flat.get("minItems", 0), prefix_items, optional)
        count = min(count, flat.get("maxItems", count))
        return min(count, prefix_items) if flat.get("items", True) is False else count

    def _number(self, flat: Schema, *, whole: bool) -> int | float:
        low, above = flat.get("minimum"), flat.get("exclusiveMinimum")
        high, below = flat.get("maximum"), flat.get("exclusiveMaximum")
        step = flat.get("multipleOf", 1 if whole else None)
        if step is None:
            return self._fraction(_greater(low, above), _lesser(high, below))
        unit = Decimal(str(step))  # binary floats would miss that 0.3 is a multiple of 0.1
        start = _smallest_multiple(low, above, unit)
        end = _largest_multiple(high, below, unit)
        if start is None:
            start = 0 if end is None else end - 10
        if end is None:
            end = start + 10
        number = unit * (start + self._next() % max(1, end - start + 1))
        return int(number) if number == number.to_integral_value() else float(number)

    def _fraction(self, low: float | None, high: float | None) -> float:
        if low is None:
            low = 0.0 if high is None or high > 0 else high - 1.0
        if high is None:
            high = low + 1.0
        return float(low + (high - low) * ((1 + self._next() % 99) / 100))

    def _string(self, flat: Schema, salt: str = "") -> str:
        template = _FORMATS.get(flat.get("format", ""))
        if template is not None:
            return template.format(day=1 + self._next() % 28)
        text = salt + self._text
        if "pattern" in flat:
            candidates = (text, *self._text.split(), *_PATTERN_CANDIDATES)
            text = next((each for each in candidates if re.search(flat["pattern"], each)), text)
        text = text[: flat.get("maxLength", len(text))]
        return text.ljust(flat.get("minLength", 0), ".")


def _greater(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _lesser(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _smallest_multiple(low: float | None, above: float | None, unit: Decimal) -> int | None:
    """The smallest whole number of units within the lower bounds, of which `above` is exclusive."""
    starts = [] if low is None else [math.ceil(Decimal(str(low)) / unit)]
    if above is not None:
        starts.append(math.floor(Decimal(str(above)) / unit) + 1)
    return max(starts, default=None)


def _largest_multiple(high: float | None, below: float | None, unit: Decimal) -> int | None:
    """The largest whole number of units within the upper bounds, of which `below` is exclusive."""
    ends = [] if high is None else [math.floor(Decimal(str(high)) / unit)]
    if below is not None:
        ends.append(math.ceil(Decimal(str(below)) / unit) - 1)
    return min(ends, default=None)
