"""The range of time that statistics are over, from what somebody asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

from configs.errors import ConfigError
from configs.frozen import seconds


@dataclass(frozen=True)
class Period:
    """From `start` up to `end`, which is left out; its days are those of `zone`. None is no limit."""

    start: datetime | None
    end: datetime | None
    zone: ZoneInfo


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that IANA name; ConfigError for another."""
    if name != "UTC" and name not in available_timezones():
        raise ConfigError(f"--zone: unknown time zone {name!r}; use an IANA name such as Asia/Tokyo")
    return ZoneInfo(name)


def last(duration: str, zone: ZoneInfo, now: datetime) -> Period:
    """The time of that length up to now, such as `30d` or `12h`."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}[smhd]", duration):
        raise ConfigError(f"--since: {duration!r} is no duration; write it like 30d, 12h or 90m")
    try:
        return Period(now - timedelta(seconds=seconds(duration)), now, zone)
    except ValueError as error:
        raise ConfigError(f"--since: {duration}: {error}; give --from instead") from error


def between(first: date | None, to: date | None, zone: ZoneInfo) -> Period:
    """The days from `first` to `to`, both of them included, from midnight to midnight in the zone."""
    if first is not None and to is not None and to < first:
        raise ConfigError(f"--to: {to} is before --from {first}; exchange them")
    return Period(
        None if first is None else _midnight(first, zone),
        None if to is None or to == date.max else _midnight(to + timedelta(days=1), zone),
        zone,
    )


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    try:
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except OverflowError:  # year 1 east of Greenwich
        return datetime.combine(day, time(), UTC)
