"""Python lists to Arrow arrays through numpy buffers.

`pyarrow.array` imports pandas the first time it is handed a list (half a second, 35 MB); this does not.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

JSON_TEXT = {b"content-type": b"application/json"}
"""The metadata of a field of text that holds JSON: templates see what it says."""

EMPTY_OBJECT = pa.field("_empty", pa.string(), metadata={b"nightmail.empty": b"object"})
"""The one field of a struct that has none: Parquet cannot store it otherwise. Templates see an object without fields."""

_NUMPY: dict[pa.DataType, Any] = {
    pa.int64(): np.int64,
    pa.int32(): np.int32,
    pa.uint8(): np.uint8,
    pa.float64(): np.float64,
    pa.float32(): np.float32,
}


def is_empty_object(kind: pa.StructType) -> bool:
    """Whether a struct type stands for objects without fields."""
    return kind.num_fields == 1 and bool(kind.field(0).equals(EMPTY_OBJECT, check_metadata=True))


def build(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """`values` (None is null) as an array of string, bool, int32/64, float32/64, or list, struct and map of those.

    Structs and maps are dicts; a key of a struct that is not there is null.
    """
    if pa.types.is_string(kind):
        return strings(values)
    if pa.types.is_struct(kind):
        return _structs(values, kind)
    if pa.types.is_list(kind):
        return _lists(values, kind)
    if pa.types.is_map(kind):
        return _maps(values, kind)
    if pa.types.is_boolean(kind):
        bits = np.packbits(np.fromiter(map(bool, values), bool, len(values)), bitorder="little")
        return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(bits)])
    return _numbers(values, kind)


def strings(values: Sequence[str | None]) -> pa.Array:
    """UTF-8 strings."""
    count = len(values)
    try:
        encoded = list(map(str.encode, values))  # type: ignore[arg-type]
        valid = None
    except TypeError:
        if values.count(None) == count:
            return pa.nulls(count, pa.string())
        encoded = [b"" if value is None else value.encode() for value in values]
        valid = _validity(values)
    data = [valid, pa.py_buffer(_offsets(encoded)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), count, data)


def few_strings(values: Sequence[str | None]) -> pa.Array:
    """The same as `strings`, for values that repeat a lot."""
    names = list(set(values))
    if len(names) == 1:
        return pa.nulls(len(values), pa.string()) if names[0] is None else repeat(names[0], len(values))
    code = {name: at for at, name in enumerate(names)}
    return lookup(names, np.fromiter(map(code.__getitem__, values), np.int64, len(values)))


def repeat(value: str, count: int) -> pa.Array:
    """`value`, `count` times."""
    data = value.encode()
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(len(data))
    return pa.Array.from_buffers(
        pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data * count)]
    )


def scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    """One value, for Arrow's functions: given one of Python's they would import pandas, as `pa.scalar` does."""
    return build([value], kind)[0]


def lookup(names: Sequence[str | None], codes: np.ndarray[Any, Any]) -> pa.Array:
    """`names[code]` for each code; a negative code is null."""
    return strings(names).take(indices(codes))


def indices(rows: np.ndarray[Any, Any]) -> pa.Array:
    """Row numbers for `take`; negative ones are null."""
    return from_numpy(rows.astype(np.int64, copy=False), rows >= 0)


def from_numpy(values: np.ndarray[Any, Any], valid: np.ndarray[Any, Any] | None = None) -> pa.Array:
    """A numeric array (not bool) with an optional mask of valid entries, sharing memory."""
    bits = None if valid is None else validity(valid)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [bits, pa.py_buffer(np.ascontiguousarray(values))])


def to_numpy(array: pa.Array, null: int = 0) -> np.ndarray[Any, Any]:
    """Numbers or booleans as numpy, `null` in place of nulls (`Array.to_numpy` and scalars import pandas too)."""
    if pa.types.is_boolean(array.type):
        return to_numpy(array.cast(pa.uint8())).view(bool)
    kind = _NUMPY[array.type]
    if not len(array):
        return np.zeros(0, kind)
    values = np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]
    return np.where(to_numpy(array.is_valid()), values, kind(null)) if array.null_count else values


def combined(column: pa.ChunkedArray) -> pa.Array:
    """A column of a table as one array."""
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def mask(bits: np.ndarray[Any, Any]) -> pa.Array:
    """numpy booleans as an array."""
    return pa.Array.from_buffers(pa.bool_(), len(bits), [None, _packed(bits)])


def fixed_lists(numbers: np.ndarray[Any, Any], valid: np.ndarray[Any, Any]) -> pa.Array:
    """A matrix as one fixed-size list a row, sharing memory; null where `valid` is not."""
    rows, size = numbers.shape
    child = from_numpy(numbers.reshape(-1))
    return pa.Array.from_buffers(pa.list_(child.type, size), rows, [validity(valid)], children=[child])


def validity(valid: np.ndarray[Any, Any]) -> pa.Buffer | None:
    """The buffer of an array that says which of its entries are null; None where none is."""
    return None if valid.all() else _packed(valid)


def with_used_values(column: pa.Array) -> pa.Array:
    """The column, its dictionary without the values that no row has: a slice keeps all of them."""
    if not pa.types.is_dictionary(column.type):
        return column
    used = pc.unique(column.indices).drop_null()
    used = used.take(pc.array_sort_indices(used))  # categories have an order
    codes = pc.index_in(column.indices, value_set=used).cast(column.type.index_type)
    return pa.DictionaryArray.from_arrays(codes, column.dictionary.take(used), ordered=column.type.ordered)


def _packed(bits: np.ndarray[Any, Any]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(bits, bitorder="little"))


def _numbers(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    count, dtype = len(values), _NUMPY[kind]
    if None not in values:
        return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(np.fromiter(values, dtype, count))])
    if values.count(None) == count:
        return pa.nulls(count, kind)
    numbers = np.fromiter((0 if value is None else value for value in values), dtype, count)
    return pa.Array.from_buffers(kind, count, [_validity(values), pa.py_buffer(numbers)])


def _structs(values: Sequence[Any], kind: pa.StructType) -> pa.Array:
    rows = [{} if value is None else value for value in values]
    fields = [kind.field(at) for at in range(kind.num_fields)]
    children = [build([row.get(field.name) for row in rows], field.type) for field in fields]
    return pa.Array.from_buffers(kind, len(values), [_validity(values)], children=children)


def _lists(values: Sequence[Any], kind: pa.ListType) -> pa.Array:
    rows = [() if value is None else value for value in values]
    offsets = _offsets(rows)
    child = build(list(chain.from_iterable(rows)), kind.value_type)
    return pa.Array.from_buffers(
        kind, len(values), [_validity(values), pa.py_buffer(offsets)], children=[child]
    )


def _maps(values: Sequence[Any], kind: pa.MapType) -> pa.Array:
    rows = [() if value is None else value.items() for value in values]
    entries = [{"key": key, "value": item} for row in rows for key, item in row]
    pairs = pa.struct([pa.field("key", kind.key_type, nullable=False), ("value", kind.item_type)])
    offsets = pa.py_buffer(_offsets(rows))
    return pa.Array.from_buffers(
        kind, len(values), [_validity(values), offsets], children=[build(entries, pairs)]
    )


def _offsets(items: Sequence[Sized]) -> np.ndarray[Any, Any]:
    offsets = np.zeros(len(items) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, items), np.int64, len(items)), out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise OverflowError("more than 2 GB in one column block")
    return offsets.astype(np.int32)


def _validity(values: Sequence[Any]) -> pa.Buffer | None:
    if None not in values:
        return None
    valid = np.fromiter((value is not None for value in values), bool, len(values))
    return pa.py_buffer(np.packbits(valid, bitorder="little"))
