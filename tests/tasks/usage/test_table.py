"""Statistics as a table and as a page: what is unknown says so, and texts of others are only texts."""

from __future__ import annotations

from base64 import b64decode
from datetime import timedelta
from xml.etree import ElementTree

import jsonschema_rs
import pytest

from rigs.past_batches import MIDNIGHT, Past, as_read
from tasks.usage.aggregate import summed_up
from tasks.usage.chart import chart
from tasks.usage.document import By, Usage
from tasks.usage.markdown import usage_as_markdown
from tasks.usage.period import Period, zone_of
from tasks.usage.table import COLUMNS, HEADINGS, cells, period_text, records, unpriced_text

HOSTILE = "<script>|[x](javascript:1)`"


def usage(*past: Past) -> Usage:
    """Statistics of these batches."""
    return summed_up(*as_read(past), Period(MIDNIGHT, None, zone_of("Asia/Tokyo")), By.MODEL)


def test_records_have_the_columns_of_the_csv_and_end_with_all() -> None:
    rows = records(usage(Past(), Past(values={"model": "new"})))
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert [(row["by"], row["name"], row["requests"]) for row in rows] == [
        ("model", "m", 10),
        ("model", "new", 10),
        ("all", None, 20),
    ]


@pytest.mark.parametrize(
    ("costs", "cost", "per_thousand", "said"),
    [
        ([0.5, 0.25], "$0.7500", "$37.5000", ""),
        ([0.5, None], "over $0.5000", "unknown", "the cost of 1 batch is unknown"),
        ([None, None], "unknown", "unknown", "the cost of 2 batches is unknown"),
    ],
)
def test_a_cost_that_is_not_known_is_not_guessed(
    costs: list[float | None], cost: str, per_thousand: str, said: str
) -> None:
    found = usage(*[Past(values={"cost_usd": usd}) for usd in costs])
    (row,) = cells(found)
    shown = dict(zip(HEADINGS, row[1:], strict=True))
    assert (shown["cost"], shown["per 1,000"]) == (cost, per_thousand)
    assert unpriced_text(found).startswith(said)
    assert bool(unpriced_text(found)) is bool(said)


def test_the_range_is_told_by_the_clock_of_the_zone() -> None:
    assert period_text(usage(Past())) == "2026-11-22 09:00 to now Asia/Tokyo"


def test_a_page_holds_the_table_and_a_picture_and_nothing_of_others_that_acts() -> None:
    past = [
        Past(values={"model": HOSTILE}),
        Past(start=MIDNIGHT + timedelta(days=2), values={"cost_usd": None}),
    ]
    page = usage_as_markdown(usage(*past))
    assert "<script" not in page
    assert r"&lt;script>\|\[x\](javascript:1)\`" in page
    assert "The cost of 1 batch is unknown" in page
    picture = page.partition("data:image/svg+xml;base64,")[2].partition(")")[0]
    assert ElementTree.fromstring(b64decode(picture)).tag == "{http://www.w3.org/2000/svg}svg"
    assert "![" not in usage_as_markdown(summed_up((), (), Period(None, None, zone_of("UTC")), By.MODEL))


def test_a_picture_has_a_bar_a_day_and_a_question_mark_where_nobody_knows() -> None:
    past = [
        Past(values={"cost_usd": 2.0}),
        Past(start=MIDNIGHT + timedelta(days=1), values={"cost_usd": 1.0}),
        Past(start=MIDNIGHT + timedelta(days=3), values={"cost_usd": None}),
    ]
    found = usage(*past)
    tree = ElementTree.fromstring(chart(found.days))
    cost, *others = list(tree)
    heights = [float(bar.attrib["height"]) for bar in cost.iter("{http://www.w3.org/2000/svg}rect")]
    assert heights == [72.0, 36.0, 0.0]
    told = [title.text for title in cost.iter("{http://www.w3.org/2000/svg}title")]
    assert told == [
        "2026-11-22: $2.0000",
        "2026-11-23: $1.0000",
        "2026-11-24: $0.0000",
        "2026-11-25: unknown",
    ]
    assert [text.text for text in cost.iter("{http://www.w3.org/2000/svg}text") if text.text == "?"] == ["?"]
    assert [group[0].text for group in others] == ["Requests", "Failure rate", "Mean batch time"]


def test_what_is_written_satisfies_the_published_schema() -> None:
    document = usage(Past(), Past(values={"cost_usd": None, "requests": 0}))
    validator = jsonschema_rs.validator_for(Usage.json_schema())
    validator.validate(document.as_json())
    assert not validator.is_valid({**document.as_json(), "version": 2})
    assert Usage.model_validate(document.as_json()) == document
