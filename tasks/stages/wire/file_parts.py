"""Content parts that stand for the files in a column: `{type: image, column: photo}`, `{type: file, column: report}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from configs.errors import ConfigError
from tasks.stages.prompt.render import Leaves, as_data

_KINDS: Final = ("image", "file")


def asks_for_files(part: Mapping[str, Any]) -> bool:
    """Whether a content part is one of these."""
    return part.get("type") in _KINDS and "column" in part


def column_of(part: Mapping[str, Any], where: str, leaves: Leaves, *further: str) -> str:
    """The column of such a part, which may have the keys `further`. ConfigError for what is wrong with it, and for one that comes
    from a row itself: it would choose what is read."""
    if leaves is as_data:
        raise ConfigError(f"{where}: a row's own conversation cannot name a column; its files are data URLs")
    unknown = sorted(part.keys() - {"type", "column", *further})
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}: a part with a column has no such key; remove it")
    column = part["column"]
    if not isinstance(column, str) or not column:
        raise ConfigError(f"{where}.column: must be the name of a column, not {column!r}")
    return column
