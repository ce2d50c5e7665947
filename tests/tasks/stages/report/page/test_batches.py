"""Bars on an axis, and which batches are worth one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tasks.stages.report.page.batches import BatchView, latency, select_batches, timeline

START = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)


def minutes(count: float) -> datetime:
    return START + timedelta(minutes=count)


def batch(posted: float | None, ended: float | None, *phases: tuple[str, float], **more: Any) -> BatchView:
    given = {"chunk": 1, "attempt": 1, "posting": 1, "id": "b", "status": "completed", "requests": 1, **more}
    return BatchView(
        posted=None if posted is None else minutes(posted),
        ended=None if ended is None else minutes(ended),
        phases=tuple((status, minutes(at)) for status, at in phases),
        **given,
    )


@pytest.mark.parametrize(
    ("made", "spans"),
    [
        (
            batch(0, 10, ("queued", 0), ("running", 2), ("finishing", 9), ("completed", 10)),
            [("waiting", 0, 20), ("running", 20, 70), ("finishing", 90, 10)],
        ),
        (batch(0, 10, ("queued", 0), ("completed", 10)), [("running", 0, 100)]),
        (batch(0, 10), [("running", 0, 100)]),
        (batch(0, None, ("queued", 0), ("running", 5)), [("waiting", 0, 50), ("running", 50, 50)]),
        (batch(0, 10, ("running", 0), ("cancelling", 5)), [("running", 0, 50), ("cancelling", 50, 50)]),
        (batch(0, 10, ("queued", 0), ("running", 99)), [("waiting", 0, 100)]),
    ],
)
def test_a_bar_shows_what_was_seen(made: BatchView, spans: list[tuple[str, float, float]]) -> None:
    drawn = timeline([made], minutes(10), ZoneInfo("UTC"))
    assert drawn is not None
    ((_, found),) = drawn.bars
    assert [(span.kind, round(span.left), round(span.width)) for span in found] == spans


@pytest.mark.parametrize("seconds", [0, 0.01, 1, 61, 3_000, 86_400, 3 * 86_400, 400 * 86_400])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_an_axis_has_a_few_marks_in_order(seconds: float, zone: str) -> None:
    drawn = timeline([batch(0, seconds / 60)], minutes(0), ZoneInfo(zone))
    assert drawn is not None
    places = [left for left, _ in drawn.ticks]
    assert len(places) <= 7
    assert all(a < b for a, b in pairwise(places))
    assert all(0 <= left <= 100 for left in places)


def test_nothing_posted_has_no_timeline_and_no_latency() -> None:
    made = [batch(None, None)]
    assert timeline(made, minutes(1), ZoneInfo("UTC")) is None
    assert latency(made) is None


def test_latency_is_over_those_that_ended() -> None:
    found = latency([batch(0, 1), batch(0, 3), batch(0, 10), batch(0, None)])
    assert found is not None
    assert [span.total_seconds() / 60 for span in (found.shortest, found.middle, found.longest)] == [1, 3, 10]


def test_what_went_wrong_comes_before_what_took_long_and_all_in_order() -> None:
    made = [batch(0, n, chunk=n, status="expired" if n == 2 else "completed") for n in range(1, 11)]
    assert [one.chunk for one in select_batches(made, 3)] == [2, 9, 10]
    assert select_batches(made, 10) == made
