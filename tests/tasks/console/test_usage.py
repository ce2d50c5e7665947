"""The page of statistics: the same figures as `nightmail stats`, over the range that is asked for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.home import Home
from rigs.console import client_of, console_over, fill
from tasks.console.usage import chart_of
from tasks.ledger.store import Ledger
from tasks.stages.report.formatting import duration
from tasks.usage.aggregate import NOTHING, usage_of
from tasks.usage.chart import SERIES, chart
from tasks.usage.document import By, Group
from tasks.usage.period import Period, zone_of
from tasks.usage.prometheus import as_prometheus


def test_figures_charts_and_metrics_are_those_of_the_command(home: Home, spec: dict[str, Any]) -> None:
    ledger = Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=60)
    client = client_of(console_over(home))
    page = client.get("/statistics?from=2026-11-01&to=2026-11-30&by=job").text
    zone = zone_of("UTC")
    usage = usage_of(ledger, Period(None, None, zone), By.JOB)
    assert f"<strong>{usage.total.requests:,}</strong>" in page
    assert f"${usage.total.cost_usd:,.4f}" in page
    drawn = re.findall(r'class="fill-accent"><title>([\d-]+): ([^<]+)<', page)
    assert [day for day, _ in drawn] == 4 * [f"2026-11-{day:02}" for day in range(1, 31)]  # all of the range
    assert [(day.name, f"{day.figures.requests:,}") for day in usage.days] == drawn[30 : 30 + len(usage.days)]
    most = max(usage.days, key=lambda day: day.figures.batch_seconds_mean or 0.0)
    assert f"most: {duration(most.figures.batch_seconds_mean or 0.0)}<" in page
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text == as_prometheus(ledger)
    assert 'nightmail_requests_total{job="letters"' in answer.text


def test_a_range_or_a_grouping_that_is_none_is_said_and_the_page_is_shown(
    home: Home, spec: dict[str, Any]
) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=2)
    client = client_of(console_over(home))
    for query, said in (
        ("from=x", "from: &#39;x&#39; is no date"),
        ("from=2026-11-02&to=2026-11-01", "is before"),
        ("since=ever", "is no duration"),
        ("since=<b>&by=<b>", "is no duration"),
    ):
        answer = client.get(f"/statistics?{query}")
        assert answer.status_code == 200
        assert said in answer.text
        assert "<b>" not in answer.text
    assert "Nothing ended in this time." in client.get("/statistics?from=2020-01-01&to=2020-01-02").text


@pytest.mark.parametrize(
    ("costs", "most"),
    [
        ([5.4141], "$5.4141"),  # found: 100 times it, divided by it, is not 100
        ([0.0, 0.0211, 0.01], "$0.0211"),
        ([0.0], "$0.0000"),
        ([None, 0.0], "unknown"),  # nothing was spent on the other day
        ([None, 0.5], "at least $0.5000"),
        ([None], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_highest_value_of_a_chart_is_named(costs: list[float | None], most: str) -> None:
    days = [Group(name="2026-11-01", figures=NOTHING.model_copy(update={"cost_usd": cost})) for cost in costs]
    assert chart_of(SERIES[0], days).most == most
    assert f"most: {most}<" in chart(days, SERIES[:1])
