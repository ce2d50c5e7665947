"""A value that satisfies a JSON Schema, drawn from a text: what the echo answers when a schema is asked for.

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

from tasks.local_batch.echo.schema_merge import Schema, both, is_a

_DEEP: Final = 4  # below this level, only what is required, by the shortest way down
_TEXT_CHARS: Final = 80
_KEYWORD_TYPES: Final = (
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
_OBVIOUS: Final = (
    "a",
    "A",
    "0",
    "aa",
    "AA",
    "00",
    "000",
    "abc",
    "ABC",
    "1234",
    "a-1",
    "A1",
    "2026-01-01",
    "#000000",
)


class Sampler:
    """Values for one schema. The same text gives the same value."""

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._heights: dict[int, float] = {}

    def sample(self, text: str) -> Any:
        """A value that satisfies the schema, with strings from `text` and choices by its hash."""
        return _Draw(self, text).value(self._root, 0)

    def flat(self, schema: Any, depth: int, choose: int) -> Schema:
        """The schema without $ref, allOf, anyOf and oneOf: one of the alternatives is taken."""
        if not isinstance(schema, dict):
            return {}
        flat: Schema = schema
        while "$ref" in flat or "allOf" in flat or "anyOf" in flat or "oneOf" in flat:
            rest = {k: v for k, v in flat.items() if k not in ("$ref", "allOf", "anyOf", "oneOf")}
            parts = [self._target(flat["$ref"])] if "$ref" in flat else []
            parts += flat.get("allOf", [])
            parts += [
                self._alternative(flat[key], depth, choose) for key in ("anyOf", "oneOf") if flat.get(key)
            ]
            for part in parts:
                rest = both(rest, part)
            flat = rest
        return flat

    def _alternative(self, options: list[Any], depth: int, choose: int) -> Any:
        if depth >= _DEEP:
            return min(options, key=lambda option: self._height(option, frozenset()))
        return options[choose % len(options)]

    def _target(self, ref: str) -> Any:
        found: Any = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            found = (
                found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
            )
        return found

    def _height(self, schema: Any, above: frozenset[str]) -> float:
        """Levels that the smallest value of the schema needs; inf when it never ends."""
        if not isinstance(schema, dict):
            return 0
        if not above and id(schema) in self._heights:
            return self._heights[id(schema)]
        needs = [0.0]
        if "$ref" in schema:
            ref = schema["$ref"]
            needs.append(math.inf if ref in above else self._height(self._target(ref), above | {ref}))
        needs += [self._height(part, above) for part in schema.get("allOf", [])]
        needs += [
            min(self._height(option, above) for option in schema[key])
            for key in ("anyOf", "oneOf")
            if schema.get(key)
        ]
        properties = schema.get("properties", {})
        needs += [1 + self._height(properties.get(name), above) for name in schema.get("required", [])]
        if schema.get("minItems"):
            needs.append(1 + self._height(schema.get("items"), above))
        height = max(needs)
        if not above:
            self._heights[id(schema)] = height
        return height


class _Draw:
    """One sampling: the text and the stream of numbers made from it."""

    def __init__(self, sampler: Sampler, text: str) -> None:
        self._sampler = sampler
        self._text = text[:_TEXT_CHARS]
        self._state = zlib.crc32(text.encode())

    def _next(self) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return self._state >> 33

    def value(self, schema: Any, depth: int) -> Any:
        flat = self._sampler.flat(schema, depth, self._next())
        if "const" in flat:
            return flat["const"]
        kind = self._kind(flat, depth)
        if "enum" in flat:
            options = [option for option in flat["enum"] if is_a(option, flat.get("type"))] or flat["enum"]
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

    def _kind(self, flat: Schema, depth: int) -> str:
        kind = flat.get("type")
        if isinstance(kind, list):
            solid = [name for name in kind if name != "null"]
            if not solid or ("null" in kind and depth >= _DEEP):
                return "null"
            return str(solid[self._next() % len(solid)])
        if isinstance(kind, str):
            return kind
        return next((name for name, words in _KEYWORD_TYPES if any(word in flat for word in words)), "string")

    def _object(self, flat: Schema, depth: int) -> dict[str, Any]:
        properties = flat.get("properties", {})
        required = flat.get("required", [])
        names = [name for name in properties if name in required or depth < _DEEP]
        most = flat.get("maxProperties", len(names))
        optional = [name for name in names if name not in required][: max(0, most - len(required))]
        names = [name for name in names if name in required or name in optional]
        other = flat.get("additionalProperties", {})
        names += [name for name in required if name not in properties]
        names += [f"extra{index}" for index in range(flat.get("minProperties", 0) - len(names))]
        return {name: self.value(properties.get(name, other), depth + 1) for name in names}

    def _array(self, flat: Schema, depth: int) -> list[Any]:
        first = flat.get("prefixItems", [])
        least = flat.get("minItems", 0)
        wish = max(least, len(first), 0 if depth >= _DEEP else 1 + self._next() % 2)
        count = min(wish, flat.get("maxItems", wish))
        if flat.get("items", True) is False:
            count = min(count, len(first))
        found: list[Any] = []
        for attempt in range(count * 20):
            if len(found) == count:
                break
            place = len(found)
            item = self.value(first[place] if place < len(first) else flat.get("items", {}), depth + 1)
            if flat.get("uniqueItems") and isinstance(item, str) and "enum" not in flat.get("items", {}):
                item = self._string(flat.get("items", {}), salt=f"{attempt} ")
            if not flat.get("uniqueItems") or item not in found:
                found.append(item)
        return found

    def _number(self, flat: Schema, *, whole: bool) -> int | float:
        low, above = flat.get("minimum"), flat.get("exclusiveMinimum")
        high, below = flat.get("maximum"), flat.get("exclusiveMaximum")
        step = flat.get("multipleOf", 1 if whole else None)
        if step is None:
            return self._fraction(_greater(low, above), _lesser(high, below))
        unit = Decimal(str(step))
        start = _first(low, above, unit)
        end = _last(high, below, unit)
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
        shape = _FORMATS.get(flat.get("format", ""))
        if shape is not None:
            return shape.format(day=1 + self._next() % 28)
        text = salt + self._text
        if "pattern" in flat:
            texts = (text, *self._text.split(), *_OBVIOUS)
            text = next((one for one in texts if re.search(flat["pattern"], one)), text)
        text = text[: flat.get("maxLength", len(text))]
        return text.ljust(flat.get("minLength", 0), ".")


def _greater(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _lesser(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _first(low: float | None, above: float | None, unit: Decimal) -> int | None:
    """The smallest whole number of units within the lower bounds."""
    starts = [] if low is None else [math.ceil(Decimal(str(low)) / unit)]
    if above is not None:
        starts.append(math.floor(Decimal(str(above)) / unit) + 1)
    return max(starts, default=None)


def _last(high: float | None, below: float | None, unit: Decimal) -> int | None:
    """The largest whole number of units within the upper bounds."""
    ends = [] if high is None else [math.floor(Decimal(str(high)) / unit)]
    if below is not None:
        ends.append(math.ceil(Decimal(str(below)) / unit) - 1)
    return min(ends, default=None)
