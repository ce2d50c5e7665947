"""Filter rows by `source.where`: literals cast to their columns' types, a mask per batch, an expression to prune with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import InputError

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_COMPARED_AS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary(), pa.float16(): pa.float32()}
_ORDER_OPERATORS = ("<", "<=", ">", ">=")


@dataclass(frozen=True)
class Clause:
    """One comparison. `literal` is a scalar (null means: is null), or an array for `in` and `not in`.

    `can_prune` is whether Arrow can compare the column's statistics.
    """

    column: str
    operator: str
    literal: Any
    can_prune: bool = True

    def mask(self, values: Any) -> Any:
        """True where the row is taken. As in SQL, null is neither equal nor unequal to a value."""
        values = values.cast(_comparable(values.type))
        if self.operator == "in":
            return pc.is_in(values, value_set=self.literal)
        if self.operator == "not in":
            return pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=self.literal)))
        if not self.literal.is_valid:
            return pc.is_null(values) if self.operator == "==" else pc.is_valid(values)
        return _COMPARE[self.operator](values, self.literal)

    def expression(self) -> Any:
        """The same as an Arrow expression over statistics, or None where they cannot tell."""
        if not self.can_prune:
            return None
        field = pc.field(self.column)
        if self.operator == "in":
            return None if self.literal.null_count else field.isin(self.literal)
        if self.operator == "not in" or not self.literal.is_valid:
            return None
        return _COMPARE[self.operator](field, self.literal)


@dataclass(frozen=True)
class Where:
    """The whole filter: clauses that must all hold."""

    clauses: tuple[Clause, ...] = ()

    def apply(self, batch: Any) -> Any:
        """The rows of a batch that satisfy it."""
        if not self.clauses:
            return batch
        masks = [clause.mask(batch.column(clause.column)) for clause in self.clauses]
        mask = functools.reduce(pc.and_kleene, masks)
        try:
            return batch.filter(mask)
        except pa.ArrowNotImplementedError:  # pyarrow 26 cannot for views of texts
            return pa.concat_batches([batch.slice(0, 0), *_runs(batch, mask.to_pylist())])

    def may_hold(self, constants: Mapping[str, Any]) -> bool:
        """False when a fragment's partition values rule all of its rows out."""
        return all(
            clause.mask(pa.repeat(constants[clause.column], 1))[0].as_py() is True
            for clause in self.clauses
            if clause.column in constants
        )

    def expression(self, columns: Collection[str]) -> Any:
        """What of it can be judged by the statistics of these columns; None when nothing can."""
        expressions = (clause.expression() for clause in self.clauses if clause.column in columns)
        parts = [part for part in expressions if part is not None]
        return functools.reduce(lambda a, b: a & b, parts) if parts else None


def _runs(batch: Any, taken: Sequence[bool | None]) -> Iterator[Any]:
    """The parts of a batch in which every row is taken."""
    start = 0
    for is_taken, rows in groupby(taken, bool):
        length = len(list(rows))
        if is_taken:
            yield batch.slice(start, length)
        start += length


def _comparable(type_: Any) -> Any:
    """The type that a column is compared as: not every one has all comparisons in Arrow."""
    if pa.types.is_dictionary(type_):
        return _comparable(type_.value_type)
    return _COMPARED_AS.get(type_, type_)


def compile_where(where: Sequence[tuple[str, str, Any]], schema: Any, path: str) -> Where:
    """Cast each literal to its column's type. Raises InputError that names the column and the value."""
    clauses = []
    for column, operator, value in where:
        own_type = schema.field(column).type
        type_ = _comparable(own_type)
        try:
            literal = _cast_literal(value, operator, type_)
            clauses.append(Clause(column, operator, literal, can_prune=own_type not in _COMPARED_AS))
        except (ValueError, TypeError, OverflowError, ArithmeticError, pa.ArrowException) as error:
            reason = (
                error.args[0]
                if isinstance(error, _NotComparable)
                else f"{value!r} cannot be compared with {type_}"
            )
            raise InputError(f"{path}: source.where on {column!r}: {reason}") from error
    return Where(tuple(clauses))


class _NotComparable(ValueError):
    """A literal that cannot be compared, with what to do about it."""


def _cast_literal(value: Any, operator: str, type_: Any) -> Any:
    if pa.types.is_nested(type_) or isinstance(type_, pa.BaseExtensionType):
        raise _NotComparable(f"a column of type {type_} cannot be compared; filter on another column")
    if operator not in ("in", "not in"):
        if value is None and operator in _ORDER_OPERATORS:
            raise _NotComparable(f"{operator} null takes no row; use == or != with null")
        return _literal(value, operator, type_)
    if not isinstance(value, list | tuple):
        raise _NotComparable(f"{operator!r} needs a list of values, e.g. [{value!r}]")
    # A value outside the column's range makes a wider scalar; casting it back then fails by name.
    return pa.array([_literal(item, operator, type_).as_py() for item in value], type=type_)


def _literal(value: Any, operator: str, type_: Any) -> Any:
    if value is None:
        return pa.scalar(None, type_)
    if pa.types.is_boolean(type_) != isinstance(value, bool):
        raise _NotComparable(f"{value!r} cannot be compared with {type_}; " + _quote_hint(type_))
    if isinstance(value, bool):
        return pa.scalar(value, type_)
    if pa.types.is_temporal(type_):
        return _temporal(value, type_)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return _number(value, type_)
    if isinstance(value, int | float):
        if operator in _ORDER_OPERATORS:
            raise _NotComparable(
                f"the column is text, so {operator} {value!r} would compare letters; "
                "give it a number type in source.types"
            )
        value = str(value)
    elif isinstance(value, date):
        value = value.isoformat()
    return pa.scalar(value.encode() if _is_binary(type_) else value, type_)


def _quote_hint(type_: Any) -> str:
    return "use true or false" if pa.types.is_boolean(type_) else "put the value in quotes"


def _is_binary(type_: Any) -> bool:
    return bool(
        pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_)
    )


def _number(value: Any, type_: Any) -> Any:
    if isinstance(value, str):
        value = float(value) if pa.types.is_floating(type_) else Decimal(value)
    if pa.types.is_decimal(type_):
        return pa.scalar(Decimal(str(value)))
    if pa.types.is_floating(type_):
        return pa.scalar(float(value), type_)
    if value != int(value):
        return pa.scalar(float(value))  # pa.scalar would cut it down to a whole number
    try:
        return pa.scalar(int(value), type_)
    except (pa.ArrowInvalid, OverflowError):
        return pa.scalar(int(value))


def _temporal(value: Any, type_: Any) -> Any:
    if pa.types.is_time(type_):
        return pa.scalar(time.fromisoformat(value) if isinstance(value, str) else value, type_)
    if pa.types.is_date(type_):
        return pa.scalar(date.fromisoformat(value) if isinstance(value, str) else value, type_)
    if not pa.types.is_timestamp(type_):
        return pa.scalar(value, type_)
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 - the zone comes below
    if type_.tz is None and moment.tzinfo is not None:
        raise _NotComparable(f"{value} has a zone, but the column has none; leave the zone out")
    return pa.scalar(moment.replace(tzinfo=moment.tzinfo or UTC) if type_.tz else moment, type_)
