"""Times as services write them: unix seconds or milliseconds, ISO 8601, HTTP dates, as numbers or as text."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from tasks.providers.http_headers import http_date

# Seconds of the year 5138, and milliseconds of 1973: no batch is of either.
_FIRST_MILLISECONDS = 1e11
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(value: Any) -> datetime | None:
    """A service's time, aware; None where there is none that can be meant: 0, `9999-12-31`, a word."""
    try:
        time = value if isinstance(value, datetime) else _read(value)
        if time is None:
            return None
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        return aware.astimezone(UTC) if _EPOCH < aware < _LATEST else None
    except (ValueError, OverflowError, OSError):
        return None


def _read(value: Any) -> datetime | None:
    if isinstance(value, str):
        text = value.strip()
        return (
            _of_number(float(text)) if _is_number(text) else http_date(text) or datetime.fromisoformat(text)
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(float(value))
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _of_number(number: float) -> datetime | None:
    if not math.isfinite(number):
        return None
    return datetime.fromtimestamp(number / 1000 if number >= _FIRST_MILLISECONDS else number, UTC)
