"""Parse text into typed columns, for CSV fields and partition folders."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# The types that `source.types` can name.
TYPES: dict[str, Any] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp_utc": pa.timestamp("us", "UTC"),
}
_ZONED = r"[0-9](Z|[T ].*[+-][0-9]{2}(:?[0-9]{2})?)$"


def parse_text(texts: Any, type_: Any) -> Any:
    """An array of text as an array of `type_`; blank is null. Raises pa.ArrowInvalid.

    Blanks around a value do not count. A zoned timestamp is stored in UTC, and one without a zone is taken
    as UTC. More than six decimals of a second are refused, as a microsecond column would lose them.
    """
    if pa.types.is_string(type_):
        return texts
    trimmed = pc.utf8_trim_whitespace(texts)
    null = pa.nulls(1, pa.string())[0]
    values = pc.if_else(pc.binary_length(trimmed).cast(pa.bool_()), trimmed, null)
    if not (pa.types.is_timestamp(type_) and type_.tz):
        return values.cast(type_)
    zoned = pc.match_substring_regex(values, _ZONED)
    aware = pc.if_else(zoned, values, null).cast(type_)
    naive = pc.if_else(zoned, null, values).cast(pa.timestamp("us"))
    return pc.coalesce(aware, pc.assume_timezone(naive, "UTC"))


def text_array(text: str | None) -> Any:
    """One text as an array. `pa.array` and `pa.scalar` would import pandas for it: 0.5 s and 35 MB."""
    if text is None:
        return pa.nulls(1, pa.string())
    data = text.encode()
    offsets = pa.py_buffer((0).to_bytes(4, "little") + len(data).to_bytes(4, "little"))
    return pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data))


def first_invalid(texts: Any, type_: Any) -> int:
    """Index of the first text that is no `type_`, given that there is one: by bisection, as Arrow does not tell."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            parse_text(texts.slice(low, middle - low), type_)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low
