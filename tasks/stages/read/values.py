"""Text to typed columns, for CSV fields and partition folders."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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


def from_text(texts: Any, type_: Any) -> Any:
    """An array of text as an array of `type_`; blank is null. Raises pa.ArrowInvalid.

    Blanks around a value do not count. A zoned timestamp is stored in UTC, and one without a zone is taken
    as UTC. More than six decimals of a second are refused, as a microsecond column would lose them.
    """
    if pa.types.is_string(type_):
        return texts
    trimmed = pc.utf8_trim_whitespace(texts)
    values = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    if not (pa.types.is_timestamp(type_) and type_.tz):
        return values.cast(type_)
    zoned = pc.match_substring_regex(values, _ZONED)
    nothing = pa.scalar(None, pa.string())
    aware = pc.if_else(zoned, values, nothing).cast(type_)
    naive = pc.if_else(zoned, nothing, values).cast(pa.timestamp("us"))
    return pc.coalesce(aware, pc.assume_timezone(naive, "UTC"))


def first_misfit(texts: Any, type_: Any) -> int:
    """Index of the first text that is no `type_`, given that there is one."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            from_text(texts.slice(low, middle - low), type_)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low
