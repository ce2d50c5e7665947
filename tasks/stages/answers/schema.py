"""Structured output: the Arrow type of a JSON Schema, and the check of answers against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jsonschema_rs
import msgspec
import pyarrow as pa

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.answers.json_inside import NotJSON, json_inside
from tasks.stages.answers.object_root import WRAPPED_IN, is_wrapped

_TEXT = pa.string()
# Stands for "a string that holds JSON text" while types are worked out, to tell it from plain text; large_string is
# never the type of anything else here.
_JSON = pa.large_string()
_LEAVES = {"string": _TEXT, "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
_INT64 = range(-(2**63), 2**63)
_EXACT_FLOAT = 2**53  # up to here a float holds every whole number
_FLOAT_RANGE = 2**1000  # beyond 2**1024, float() of an integer raises
_REASON_CHARS = 300
_PLAIN = frozenset({"{}", '""'})  # the ends of a text that is JSON and nothing else


def arrow_type(schema: Mapping[str, Any]) -> pa.DataType:
    """The column type of answers that satisfy `schema`.

    object with `properties` -> struct of exactly those, array with `items` -> list, integer -> int64,
    number -> float64, boolean, string (also enum and const of strings); a union with null is the type itself.
    Whatever has no single type (free-form objects, mixed unions, recursion) is a string that holds JSON.
    """
    return _without_marks(_type_of(schema, schema, ()))


class Checker(Protocol):
    """Checks the answers of a job's rows against its schema, and makes typed values of them."""

    type: pa.DataType

    def check(self, answer: Any) -> tuple[Any, str | None]:
        """(value of `type`, what is wrong with it). There may be both: of several answers, one may be wrong."""

    def remark(self, answer: Any) -> str | None:
        """What stood around the JSON of an answer that passed the check; None for one that is JSON and nothing else."""


def checker_of(prompt: Prompt) -> Checker | None:
    """The check of a job's answers; None for a job without a schema."""
    if prompt.answer_schema is None:
        return None
    checker = AnswerChecker(prompt.answer_schema)
    return checker if prompt.choices == 1 else ChoicesChecker(checker)


class AnswerChecker:
    """Checks one answer's text against a schema. Raises ConfigError when the schema itself is wrong.

    The schema is compiled once and never fetches a remote `$ref`.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            self._validator = jsonschema_rs.validator_for(dict(schema), offline=True)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"prompt.schema is not a JSON Schema: {reason}; correct it in the job file"
            ) from None
        self._may_be_wrapped = is_wrapped(schema)
        marked_type = _type_of(schema, schema, ())
        self.type = _without_marks(marked_type)
        self._convert = _converter(marked_type)

    def check(self, text: str | None) -> tuple[Any, str | None]:
        """(value, None) where the value fits `self.type`, or (None, one line with the path and the reason)."""
        if text is None:
            return None, "the answer holds no text"
        try:
            value, _ = json_inside(text)
        except NotJSON as error:
            return None, _one_line(str(error))
        value = self._unwrapped(value)
        if not self._validator.is_valid(value):
            return None, self._first_problem(value)
        try:  # valid against the schema, and still too large for its Arrow type
            return None if value is None else self._convert(value), None
        except _ConversionError as error:
            return None, f"{_path(error.path)}: {error.reason}"

    def remark(self, text: str | None) -> str | None:
        """What stood around the JSON of a good answer."""
        if text is None or text[:1] + text[-1:] in _PLAIN:
            return None
        _, around = json_inside(text)
        return around and f"the JSON was taken out of {around}; the answer's text is kept"

    def _unwrapped(self, value: Any) -> Any:
        """The answer inside the object that some providers need around it (see `strict_schema`)."""
        wrapped = self._may_be_wrapped and isinstance(value, dict) and value.keys() == {WRAPPED_IN}
        return value[WRAPPED_IN] if wrapped and not self._validator.is_valid(value) else value

    def _first_problem(self, value: Any) -> str:
        error = next(iter(self._validator.iter_errors(value)))
        return f"{_path(error.instance_path)}: {_one_line(error.message)}"


class ChoicesChecker:
    """Checks several answers a row, each against the schema: null for those that do not satisfy it."""

    def __init__(self, checker: AnswerChecker) -> None:
        self._checker = checker
        self.type = pa.list_(checker.type)

    def check(self, answer: list[str | None] | None) -> tuple[list[Any], str | None]:
        """(values, the first problem among them)."""
        checked = [self._checker.check(text) for text in answer or [None]]
        problems = (
            f"answer {number}: {problem}" for number, (_, problem) in enumerate(checked, start=1) if problem
        )
        return [value for value, _ in checked], next(problems, None)

    def remark(self, answer: list[str | None] | None) -> str | None:
        """The first remark on any of them."""
        return next(filter(None, map(self._checker.remark, answer or ())), None)


class _ConversionError(Exception):
    """A valid value that the Arrow type cannot hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str | int] = []


def _path(parts: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_REASON_CHARS]


def _without_marks(kind: pa.DataType) -> pa.DataType:
    """The type with text in place of `_JSON`."""
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _without_marks(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_without_marks(kind.value_type))
    return _TEXT if kind == _JSON else kind


def _type_of(schema: Any, root: Mapping[str, Any], seen: tuple[str, ...]) -> pa.DataType:
    """The type of `schema` within `root`; `seen` are the $refs on the way here, so that a recursion ends."""
    if not isinstance(schema, Mapping):
        return _JSON
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return _JSON
        return _type_of(_resolve(reference, root), root, (*seen, reference))
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and "properties" not in schema:
            return _union(schema[key], root, seen)
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1 and "type" not in schema:
        return _type_of(schema["allOf"][0], root, seen)
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        return _common([_LEAVES.get(_json_type(value), _JSON) for value in values if value is not None])
    return _type_by_keyword(schema, root, seen)


def _type_by_keyword(
    schema: Mapping[str, Any], root: Mapping[str, Any], seen: tuple[str, ...]
) -> pa.DataType:
    declared = schema.get("type", "object" if "properties" in schema else None)
    names = [name for name in (declared if isinstance(declared, list) else [declared]) if name != "null"]
    if len(names) != 1:
        return _common([_LEAVES.get(str(name), _JSON) for name in names])
    if names[0] == "object":
        return _struct(schema, root, seen)
    if names[0] == "array" and isinstance(schema.get("items"), Mapping) and "prefixItems" not in schema:
        return pa.list_(_type_of(schema["items"], root, seen))
    return _LEAVES.get(str(names[0]), _JSON)


def _struct(schema: Mapping[str, Any], root: Mapping[str, Any], seen: tuple[str, ...]) -> pa.DataType:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return _JSON
    return pa.struct([(name, _type_of(part, root, seen)) for name, part in properties.items()])


def _union(parts: list[Any], root: Mapping[str, Any], seen: tuple[str, ...]) -> pa.DataType:
    not_null = [part for part in parts if part not in ({"type": "null"}, {"const": None}, {"enum": [None]})]
    return _common([_type_of(part, root, seen) for part in not_null])


def _common(types: list[pa.DataType]) -> pa.DataType:
    """The type that holds values of all these types; JSON text where there is no narrower one."""
    kinds = set(types)
    if kinds == {pa.int64(), pa.float64()}:
        return pa.float64()
    return types[0] if len(kinds) == 1 else _JSON


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {str: "string", int: "integer", float: "number"}.get(type(value), "other")


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    """The schema at a local pointer such as #/$defs/Item; None for anything else, whose type is not known."""
    if not reference.startswith("#"):
        return None
    target: Any = root
    for step in reference[1:].split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, Mapping) else None
    return target


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    """A function from a value that is not None to the same value as `arrow_columns.build` wants it.

    Built once for the schema rather than interpreting it for every row. It raises _ConversionError.
    """
    if pa.types.is_struct(kind):
        return _struct_converter([(field.name, _converter(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return _list_converter(_converter(kind.value_type))
    return _LEAF_CONVERTERS[kind]


def _struct_converter(fields: list[tuple[str, Callable[[Any], Any]]]) -> Callable[[Any], Any]:
    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _ConversionError("is not an object")
        out: dict[str, Any] = {}
        name = ""
        try:
            for name, inner in fields:
                item = value.get(name)
                out[name] = None if item is None else inner(item)
        except _ConversionError as error:
            error.path.insert(0, name)
            raise
        return out

    return convert


def _list_converter(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _ConversionError("is not an array")
        out: list[Any] = []
        try:
            for item in value:
                out.append(None if item is None else inner(item))  # noqa: PERF401 - len(out) is the path
        except _ConversionError as error:
            error.path.insert(0, len(out))
            raise
        return out

    return convert


def _to_int64(value: Any) -> int:
    if type(value) is int and value in _INT64:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_FLOAT:
        return int(value)
    raise _ConversionError(f"{value!r:.60} does not fit a 64-bit integer")


def _to_float64(value: Any) -> float:
    if isinstance(value, float):
        return value
    if type(value) is int and abs(value) < _FLOAT_RANGE and float(value) == value:
        return float(value)
    raise _ConversionError(f"{value!r:.60} does not fit a 64-bit float")


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _ConversionError("is not true or false")


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _ConversionError("is not text")


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_LEAF_CONVERTERS: dict[pa.DataType, Callable[[Any], Any]] = {
    pa.int64(): _to_int64,
    pa.float64(): _to_float64,
    pa.bool_(): _to_bool,
    _TEXT: _to_text,
    _JSON: _to_json,
}
