"""The provider's time, whatever this machine's clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.providers.service_clock import ServiceClock

DATE = {"date": "Sun, 22 Nov 2026 02:00:00 GMT"}
THERE = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def test_it_is_unknown_until_the_provider_has_answered_and_then_goes_on_by_itself() -> None:
    ticks = [100.0]
    clock = ServiceClock(lambda: ticks[0])
    assert clock.now() is None
    clock.learn(DATE)
    ticks[0] += 90
    assert clock.now() == THERE + timedelta(seconds=90)


def test_a_reply_without_a_readable_date_changes_nothing() -> None:
    clock = ServiceClock(lambda: 0.0)
    clock.learn(DATE)
    clock.learn({})
    clock.learn({"date": "yesterday"})
    assert clock.now() == THERE


def test_a_service_that_never_sends_a_date_is_taken_to_have_our_time() -> None:
    clock = ServiceClock()
    clock.learn({})
    now = clock.now()
    assert now is not None
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=30)


def test_a_time_of_ours_is_told_by_its_clock_and_never_lies_in_its_future() -> None:
    clock = ServiceClock(lambda: 0.0)
    assert clock.earliest(THERE, THERE, HOUR) == THERE - HOUR
    clock.learn(DATE)
    ours = THERE + 3 * DAY
    assert clock.earliest(ours - HOUR, ours, HOUR) == THERE - 2 * HOUR
    assert clock.earliest(THERE + 3 * DAY, THERE, HOUR) == THERE - HOUR
