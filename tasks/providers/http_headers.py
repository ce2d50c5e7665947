"""HTTP response headers that say when: Date and Retry-After, read the same way for every provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST_SECONDS = 31 * 86_400.0  # a month: no quota is refilled later
_PLAUSIBLE_YEARS = range(1970, 2200)
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait before the call is repeated; None where the reply says nothing that can be meant.

    `retry-after-ms` comes first, as in the SDKs (openai/_base_client.py; Azure sends it), then `retry-after` in seconds or
    as an HTTP date (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after). A date is taken from the reply's own Date,
    so that a wrong clock on either side does not matter, and from `now` (aware) where it has none.
    """
    milliseconds = seconds_in(headers.get("retry-after-ms", ""), per_second=1_000)
    if milliseconds is not None:
        return milliseconds
    value = headers.get("retry-after", "")
    seconds = seconds_in(value)
    return _seconds_until(value, http_date(headers.get("date", "")) or now) if seconds is None else seconds


def seconds_in(text: str, per_second: int = 1) -> float | None:
    """A plain decimal as seconds; None for anything else, and for more than a month."""
    if not _DECIMAL.fullmatch(text.strip()):
        return None
    return _plausible(float(text) / per_second)


def http_date(text: str) -> datetime | None:
    """A date in any of the three forms of RFC 9110, aware; None for what is none, and for a year that nobody means."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.year not in _PLAUSIBLE_YEARS:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _seconds_until(text: str, now: datetime) -> float | None:
    date = http_date(text)
    return None if date is None else _plausible((date - now).total_seconds())


def _plausible(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _LONGEST_SECONDS else None
