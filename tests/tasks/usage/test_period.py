"""What people ask for, as the range that is counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from configs.errors import ConfigError
from tasks.usage.period import Period, between, last, zone_of

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("duration", "length"),
    [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("90m", timedelta(minutes=90))],
)
def test_the_last_so_long_ends_now(duration: str, length: timedelta) -> None:
    assert last(duration, BERLIN, NOW) == Period(NOW - length, NOW, BERLIN)


@pytest.mark.parametrize(
    ("first", "to", "start", "end"),
    [
        (None, None, None, None),
        (date(2026, 3, 29), None, "2026-03-28T23:00:00+00:00", None),
        (None, date(2026, 3, 29), None, "2026-03-29T22:00:00+00:00"),
        (date(2026, 3, 29), date(2026, 3, 29), "2026-03-28T23:00:00+00:00", "2026-03-29T22:00:00+00:00"),
        (date.min, date.max, "0001-01-01T00:00:00+00:00", None),
    ],
    ids=["none", "from", "to", "the day that has 23 hours", "all days there are"],
)
def test_days_are_whole_and_the_last_one_is_included(
    first: date | None, to: date | None, start: str | None, end: str | None
) -> None:
    period = between(first, to, BERLIN)
    assert [time and time.isoformat() for time in (period.start, period.end)] == [start, end]


@pytest.mark.parametrize("duration", ["30", "0d", "d", "-1d", "1w", "1.5d", "99999d", "4000d"])
def test_what_is_no_duration_is_refused(duration: str) -> None:
    with pytest.raises(ConfigError, match=r"^--since: "):
        last(duration, BERLIN, NOW)


def test_days_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="is before --from 2026-11-22"):
        between(date(2026, 11, 22), date(2026, 11, 21), BERLIN)


def test_a_zone_has_an_iana_name() -> None:
    assert zone_of("UTC") == ZoneInfo("UTC")
    with pytest.raises(ConfigError, match="unknown time zone 'Mars'"):
        zone_of("Mars")
