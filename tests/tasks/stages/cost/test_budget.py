"""When a budget's windows begin, also on days on which the clocks are changed, and what is said when one is reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from configs.budgets import BudgetWindow
from tasks.stages.cost.budget import amount_text, reached_text, window_end, window_start


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "zone", "now", "start", "end"),
    [
        ("day", "UTC", "2026-11-22T02:00", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("day", "UTC", "2026-11-22T00:00", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("day", "Asia/Tokyo", "2026-11-22T16:00", "2026-11-22T15:00", "2026-11-23T15:00"),
        # 23 and 25 hours: the clocks go forward and back
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("day", "Europe/Berlin", "2026-10-25T00:30", "2026-10-24T22:00", "2026-10-25T23:00"),
        # Cairo's clocks go from 00:00 to 01:00: there is no midnight, the day begins at the change
        ("day", "Africa/Cairo", "2026-04-24T09:00", "2026-04-23T22:00", "2026-04-24T21:00"),
        # Havana's go from 01:00 back to 00:00: midnight comes twice, and the day began with the first
        ("day", "America/Havana", "2026-11-01T05:30", "2026-11-01T04:00", "2026-11-02T05:00"),
        ("week", "UTC", "2026-11-22T02:00", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("week", "Europe/Berlin", "2026-10-25T12:00", "2026-10-18T22:00", "2026-10-25T23:00"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "UTC", "2026-02-28T12:00", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("month", "Asia/Tokyo", "2026-11-30T15:00", "2026-11-30T15:00", "2026-12-31T15:00"),
        ("month", "Europe/Berlin", "2026-03-31T12:00", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("rolling-24h", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T12:00", None),
        ("rolling-30d", "UTC", "2026-03-01T12:00", "2026-01-30T12:00", None),
        ("run", "UTC", "2026-03-01T12:00", None, None),
    ],
)
def test_a_window_begins_at_midnight_in_the_jobs_zone(
    window: BudgetWindow, zone: str, now: str, start: str | None, end: str | None
) -> None:
    moment, place = utc(now), ZoneInfo(zone)
    assert window_start(window, moment, place) == (start and utc(start))
    assert window_end(window, moment, place) == (end and utc(end))


@pytest.mark.parametrize("window", ["day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Havana", "Africa/Cairo", "Pacific/Apia"])
def test_every_hour_of_two_years_lies_in_its_window_and_windows_follow_each_other(
    window: BudgetWindow, zone: str
) -> None:
    place, now = ZoneInfo(zone), utc("2025-12-30T00:00")
    while now < utc("2027-01-03T00:00"):
        start, end = window_start(window, now, place), window_end(window, now, place)
        assert start is not None
        assert end is not None
        assert start <= now < end
        assert window_start(window, end, place) == end
        now += timedelta(hours=7)


@pytest.mark.parametrize(
    ("amount", "usd", "text"),
    [
        (1.25, True, "$1.25"),
        (0.0, True, "$0.00"),
        (0.00123, True, "$0.0012"),
        (1_250_000.4, False, "1,250,000 tokens"),
    ],
)
def test_an_amount_is_readable(amount: float, usd: bool, text: str) -> None:
    assert amount_text(amount, usd=usd) == text


def test_the_line_says_how_much_and_until_when() -> None:
    until = datetime(2026, 11, 23, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert reached_text("budget.day_usd", 5.0, 4.5, 1.0, usd=True, until=until) == (
        "budget.day_usd is reached: $4.50 of $5.00 are spent or in flight, and this batch may take $1.00;"
        " until 2026-11-23 00:00 JST"
    )
    assert "more than all of it" in reached_text("b", 5.0, 0.0, 6.0, usd=True, until=until)
