"""Format values as text for the report: safe for HTML, and shortened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.stages.report.formatting import duration

# Characters that HTML may not contain (HTML Standard, 13.2.3.5): controls, surrogates, noncharacters.
_PLANES = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
_UNSENDABLE = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANES}]")
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421", 0x85: "\u2424"}
_MAX_HOVER_LENGTH = 400


def replace_unsendable(text: str) -> str:
    """The text with every character that HTML may not contain replaced by its symbol (U+2400 and on) or U+FFFD."""
    return _UNSENDABLE.sub(lambda match: _PICTURES.get(ord(match[0]), "\ufffd"), text)


@dataclass(frozen=True)
class ShortenedText:
    """A text that fits its cell. If it was shortened, `whole` is the start of the original, for the tooltip."""

    text: str
    whole: str | None = None


def shorten(text: str, length: int) -> ShortenedText:
    """Shorten to `length` characters, the last one an ellipsis."""
    if len(text) <= length:
        return ShortenedText(text)
    whole = (
        text if len(text) <= _MAX_HOVER_LENGTH else f"{text[:_MAX_HOVER_LENGTH]}… ({len(text):,} characters)"
    )
    return ShortenedText(text[: length - 1].rstrip() + "…", whole)


def dollars(amount: float | None) -> str:
    """An amount in US dollars; `unknown` for None."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 100 else f"${amount:,.4f}"


def percentage(part: int, whole: int) -> str:
    """A percentage that is never rounded to 0 % or 100 %."""
    if not whole:
        return ""
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


def duration_or_dash(span: timedelta | None) -> str:
    """A duration; a dash for None."""
    return "–" if span is None else duration(span.total_seconds())


def local_and_utc(time: datetime, zone: ZoneInfo) -> str:
    """`2026-11-22 02:40:13 JST (2026-11-21 17:40:13 UTC)`; UTC only where it differs."""
    local = time.astimezone(zone)
    text = f"{local:%Y-%m-%d %H:%M:%S %Z}"
    if local.utcoffset() == timedelta(0):
        return text
    utc = time.astimezone(ZoneInfo("UTC"))
    day = "" if utc.date() == local.date() else f"{utc:%Y-%m-%d} "
    return f"{text} ({day}{utc:%H:%M:%S} UTC)"
