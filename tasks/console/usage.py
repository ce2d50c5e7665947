"""The page *Statistics*, with charts by day, and the same figures for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from configs.clock import Clock
from configs.errors import ConfigError
from tasks.console.context import console_of
from tasks.console.forms import read_date
from tasks.console.render import page
from tasks.usage.aggregate import every_day, usage_of
from tasks.usage.asked import LAST, ZONE
from tasks.usage.chart import SERIES, Series, highest_text
from tasks.usage.document import By, Group, Usage
from tasks.usage.period import Period, between, last, zone_of
from tasks.usage.prometheus import CONTENT_TYPE, as_prometheus
from tasks.usage.table import HEADINGS, cells, cost_text, period_text, unpriced_text

RANGES = ("1d", "7d", LAST, "90d", "365d")
_ALL_DRAWN = timedelta(days=367)
HEIGHT = 100  # of the drawn bars; the picture is stretched to its place


@dataclass(frozen=True)
class Bar:
    """One day: how high its bar is (None: its value is unknown), and the value as text."""

    day: str
    height: float | None
    text: str


@dataclass(frozen=True)
class Chart:
    """Bars by day of one figure, and the highest value as text."""

    title: str
    bars: tuple[Bar, ...]
    most: str


def statistics_page(request: Request) -> Response:
    """Figures over a range of time, in all, by group and by day."""
    console, given = console_of(request), request.query_params
    problem, by, job = None, given.get("by", ""), given.get("job", "")
    by = by if by in set(By) else By.MODEL
    try:
        period = _period(given, console.clock)
    except ConfigError as error:
        problem, period = str(error), last(LAST, zone_of(ZONE), console.clock.now())
    usage = usage_of(console.ledger, period, By(by), job or None)
    days = _drawn_days(usage)
    return page(
        request,
        "statistics",
        usage=usage,
        since="" if given.get("from") or given.get("to") else given.get("since") or LAST,
        given=given,
        problem=problem,
        ranges=RANGES,
        groupings=list(By),
        jobs=console.ledger.jobs() if console.ledger else (),
        headings=HEADINGS,
        rows=cells(usage),
        cost=cost_text(usage.total),
        period=period_text(usage),
        unpriced=unpriced_text(usage),
        charts=[chart_of(series, days) for series in SERIES],
        days=days[::-1],
        height=HEIGHT,
    )


def _period(given: QueryParams, clock: Clock) -> Period:
    first, to = read_date("from", given.get("from", "")), read_date("to", given.get("to", ""))
    zone = zone_of(ZONE)
    if first is not None or to is not None:
        return between(first, to, zone)
    return last(given.get("since") or LAST, zone, clock.now())


def _drawn_days(usage: Usage) -> Sequence[Group]:
    """The days of the whole range, so that charts of one range have one axis; of a very long one, those with figures."""
    if usage.start is None or usage.end is None or usage.end - usage.start > _ALL_DRAWN:
        return usage.days
    ends = (usage.start, usage.end - timedelta(microseconds=1))
    return tuple(every_day(usage.days, *(moment.astimezone(usage.zone_info).date() for moment in ends)))


def chart_of(series: Series, days: Sequence[Group]) -> Chart:
    """The bars of one figure, the highest as high as the picture."""
    values = [series.value(day.figures) for day in days]
    most = max((value for value in values if value is not None), default=0.0)
    bars = tuple(
        Bar(
            day.name or "",
            None if value is None else HEIGHT * value / most if most else 0.0,
            series.text(day.figures),
        )
        for day, value in zip(days, values, strict=True)
    )
    return Chart(series.title, bars, highest_text(days, series))


def metrics(request: Request) -> Response:
    """What `nightmail stats --prometheus` prints."""
    return Response(as_prometheus(console_of(request).ledger), headers={"content-type": CONTENT_TYPE})
