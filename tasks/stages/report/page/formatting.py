"""Values as text for the page, fit for a browser and short enough."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.stages.report.formatting import duration

# What a browser may not be sent (HTML Standard, 13.2.3.5): controls, surrogates, noncharacters.
_PLANES = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
_UNSENDABLE = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANES}]")
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421", 0x85: "\u2424"}
_HOVER = 400


def visible(text: str) -> str:
    """The text with a picture in the place of every character that HTML cannot carry."""
    return _UNSENDABLE.sub(lambda match: _PICTURES.get(ord(match[0]), "\ufffd"), text)


@dataclass(frozen=True)
class Cut:
    """A text short enough to show; `whole` is (the start of) what it was when something was cut off."""

    text: str
    whole: str | None = None


def cut(text: str, length: int) -> Cut:
    """At most `length` characters, the last of them an ellipsis when there were more."""
    if len(text) <= length:
        return Cut(text)
    whole = text if len(text) <= _HOVER else f"{text[:_HOVER]}… ({len(text):,} characters)"
    return Cut(text[: length - 1].rstrip() + "…", whole)


def dollars(amount: float | None) -> str:
    """An amount in dollars; `unknown` for a price that nobody knows."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 100 else f"${amount:,.4f}"


def share(part: int, whole: int) -> str:
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
    """A duration; a dash for what did not end."""
    return "–" if span is None else duration(span.total_seconds())


def local_and_utc(time: datetime, zone: ZoneInfo) -> str:
    """`2026-11-22 02:40:13 JST (2026-11-21 17:40:13 UTC)`; the latter only where it is something else."""
    local = time.astimezone(zone)
    text = f"{local:%Y-%m-%d %H:%M:%S %Z}"
    if local.utcoffset() == timedelta(0):
        return text
    utc = time.astimezone(ZoneInfo("UTC"))
    day = "" if utc.date() == local.date() else f"{utc:%Y-%m-%d} "
    return f"{text} ({day}{utc:%H:%M:%S} UTC)"
