"""Values as the page says them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tasks.stages.report.receipt import ANSWERED, duration

# What a browser may not be sent (HTML Standard, 13.2.3.5): controls, surrogates, noncharacters.
_PLANES = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
_UNSENDABLE = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANES}]")
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421", 0x85: "\u2424"}
_HOVER = 400


def visible(text: str) -> str:
    """The text with a picture in the place of every character that HTML cannot carry."""
    return _UNSENDABLE.sub(lambda found: _PICTURES.get(ord(found[0]), "\ufffd"), text)


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


def verdict(receipt: Mapping[str, Any], *, stopped: bool) -> str:
    """The run in one sentence: `118 of 120 rows answered; 2 failed.`"""
    rows = dict(receipt["rows"])
    total = rows.pop("total")
    answered = sum(count for status, count in rows.items() if status in ANSWERED)
    rest = ", ".join(f"{count:,} {status}" for status, count in rows.items() if status not in ANSWERED)
    if total == 0:
        said = "There were no rows"
    elif answered == total:
        said = "The only row was answered" if total == 1 else f"All {total:,} rows answered"
    else:
        said = f"{answered:,} of {total:,} rows answered; {rest}"
    return f"Stopped before its end: {said}." if stopped else f"{said}."


def cost(receipt: Mapping[str, Any]) -> str:
    """What the run cost, or that nobody knows."""
    if receipt["provider"] == "local" and receipt["cost_usd"] == 0:
        return "free (embedded service)"
    return dollars(receipt["cost_usd"])


def dollars(amount: float | None) -> str:
    """An unknown price is never a guess."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 100 else f"${amount:,.4f}"


def share(part: int, whole: int) -> str:
    """A percentage that says neither 0 % nor 100 % unless it is."""
    if not whole:
        return ""
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


def took(span: timedelta | None) -> str:
    """A duration, or a dash for what did not end."""
    return "–" if span is None else duration(span.total_seconds())


def moment(at: datetime, zone: ZoneInfo) -> str:
    """`2026-11-22 02:40:13 JST`, and the same in UTC where that is something else."""
    there = at.astimezone(zone)
    here = f"{there:%Y-%m-%d %H:%M:%S %Z}"
    if there.utcoffset() == timedelta(0):
        return here
    utc = at.astimezone(ZoneInfo("UTC"))
    day = "" if utc.date() == there.date() else f"{utc:%Y-%m-%d} "
    return f"{here} ({day}{utc:%H:%M:%S} UTC)"
