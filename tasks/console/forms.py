"""Read what a form or an address of the console holds; ConfigError names what is wrong."""

from __future__ import annotations

import datetime

from configs.errors import ConfigError


def read_date(field: str, text: str) -> datetime.date | None:
    """A date; None for an empty text."""
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise ConfigError(f"{field}: {text[:40]!r} is no date; write it like 2026-11-21") from error


def read_row_count(field: str, text: str) -> int:
    """A number of rows; 0 for an empty text."""
    if not text:
        return 0
    if (number := read_number(text)) is None:
        raise ConfigError(f"{field}: {text[:40]!r} is no number of rows; write it like 20")
    return number


def read_number(text: str) -> int | None:
    """A whole number of at most nine digits; None for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None
