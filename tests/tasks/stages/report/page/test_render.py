"""The run report: what it says, and that hostile text stays text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tasks.stages.report.page import BatchView, Sample, render_page
from tasks.stages.report.receipt import Receipt

START = datetime(2026, 11, 21, 17, 40, 13, tzinfo=UTC)
RECEIPT = Receipt.model_validate(
    {
        "job": "letters",
        "key": "2026-11-21",
        "generation": 1,
        "run": "ab12",
        "date": "2026-11-21",
        "source": "rows.parquet",
        "output": "out/letters",
        "report": None,
        "run_folder": "runs/letters/2026-11-21",
        "provider": "openai",
        "answered_by": "openai",
        "model": "m",
        "rows": {"total": 120, "succeeded": 118, "failed": 2},
        "bad_lines": 0,
        "chunks": 1,
        "batches": {"posted": 1, "follow_ups": 0},
        "tokens": {"input": 1000, "output": 200, "cached": 30, "reasoning": 40},
        "cost_usd": 0.0123,
        "errors": [],
        "odd_lines": {"unknown_ids": 0, "duplicate_lines": 0, "unparsable_lines": 0},
        "started_at": START.isoformat(),
        "finished_at": (START + timedelta(minutes=20)).isoformat(),
        "seconds": 1200.0,
    }
)
_VOID = {"meta", "link", "br", "hr", "img"}


class Page(HTMLParser):
    """Every element closed in its turn; the elements, attributes and text of the body."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "body" in self.open:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def batch(number: int = 1, **more: Any) -> BatchView:
    phases = (("queued", START), ("running", START + timedelta(minutes=2)))
    given = {"id": f"batch_{number}", "status": "completed", "requests": 120, "phases": phases}
    times = {"posted": START, "ended": START + timedelta(minutes=10), "priced": True, "cost_usd": 0.0123}
    return BatchView(**{"chunk": number, "attempt": 1, "posting": 1, **given, **times, **more})


def page(
    *,
    batches: list[BatchView] | None = None,
    samples: list[Sample] | None = None,
    stopped: bool = False,
    **receipt: Any,
) -> Page:
    made = render_page(
        Receipt.model_validate({**RECEIPT.as_json(), **receipt}),
        [batch()] if batches is None else batches,
        samples or [],
        zone=ZoneInfo("Asia/Tokyo"),
        columns=9,
        stopped=stopped,
    )
    return Page(made)


def sample(text: str) -> Sample:
    return Sample(1, "succeeded", text, ((text, text),), ((text, text),))


@pytest.mark.parametrize(
    ("rows", "stopped", "said"),
    [
        ({"total": 120, "succeeded": 118, "failed": 2}, False, "118 of 120 rows answered; 2 failed."),
        ({"total": 2000, "succeeded": 2000}, False, "All 2,000 rows answered."),
        ({"total": 1, "succeeded": 1}, False, "The only row was answered."),
        ({"total": 3, "reused": 1, "succeeded": 2}, False, "All 3 rows answered."),
        ({"total": 5, "refused": 1, "skipped": 4}, False, "0 of 5 rows answered; 1 refused, 4 skipped."),
        ({"total": 0}, False, "There were no rows."),
        (
            {"total": 4, "succeeded": 3, "cancelled": 1},
            True,
            "Stopped before its end: 3 of 4 rows answered; 1 cancelled.",
        ),
    ],
)
def test_the_run_in_one_sentence(rows: dict[str, int], stopped: bool, said: str) -> None:
    assert said in page(rows=rows, stopped=stopped).text


@pytest.mark.parametrize(
    ("receipt", "said"),
    [
        ({"cost_usd": None}, "unknown"),
        ({"cost_usd": 0.0123}, "$0.0123"),
        ({"cost_usd": 4512.3345}, "$4,512.33"),
        ({"cost_usd": 0, "provider": "local"}, "free (embedded service)"),
        ({"cost_usd": None, "provider": "local"}, "unknown"),
        ({"answered_by": "echo"}, "no model was asked"),
        ({"rows": {"total": 100_000, "succeeded": 99_999, "failed": 1}}, "> 99.9 %"),
        ({"rows": {"total": 100_000, "succeeded": 99_999, "failed": 1}}, "< 0.1 %"),
        ({}, "2026-11-22 02:40:13 JST (2026-11-21 17:40:13 UTC)"),
        ({}, "20 min"),
        ({}, "1,000 in, 200 out, 30 cached, 40 reasoning"),
        ({}, "out/letters"),
        (
            {"odd_lines": {"unknown_ids": 2, "duplicate_lines": 0, "unparsable_lines": 1}},
            "2 lines for rows that were not asked",
        ),
        ({"bad_lines": 3}, "3 bad lines"),
        ({"ranges_left_out": 2}, "2 ranges of its rows are not here"),
        ({"generation": 3}, "redo number 2"),
        ({"errors": [{"code": "server_error", "rows": 2, "example": "It broke."}]}, "It broke."),
    ],
)
def test_it_says(receipt: dict[str, Any], said: str) -> None:
    assert said in page(**receipt).text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</style></title><svg/onload=alert(1)>",
        "{{ 7 * 7 }}{% raw %}",
        "<!-- --><![CDATA[",
        "\u202eoverride \u2028 \u2029 \u0085 \r",
        "שלום עולם",
    ],
)
def test_hostile_text_stays_text_wherever_it_stands(text: str) -> None:
    plain = page(samples=[sample("x")], errors=[{"code": "x", "rows": 1, "example": "x"}])
    shown = page(
        batches=[batch(id=text, error=text, status="completed")],
        samples=[sample(text)],
        errors=[{"code": text, "rows": 1, "example": text}],
        output=text,
        source=text,
        model=text,
        answered_by=text,
        job=text,
    )
    kept = text.replace("\u0085", "\u2424")
    assert shown.text.count(kept) >= 10
    assert shown.count("script") == shown.count("img") == shown.count("svg") == 0
    assert {tag for tag, _ in shown.elements} == {tag for tag, _ in plain.elements} | {"small"}
    assert not any(name.startswith("on") for _, attributes in shown.elements for name in attributes)


@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\x1b", "\x7f", "\x9f", "\ud800", "\ufffe", "\U0010ffff"]
)
def test_what_html_cannot_carry_is_shown_as_a_picture(character: str) -> None:
    made = page(samples=[sample(f"a{character}b")])
    assert character not in made.text
    assert re.search(r"a[\u2400-\u2424\ufffd]b", made.text)


def test_huge_cells_are_cut_and_the_page_stays_small() -> None:
    cells = tuple((f"column {n}", "長い" * 500_000) for n in range(6))
    samples = [Sample(n, "succeeded", "x" * 10_000, cells, cells) for n in range(12)]
    html = render_page(RECEIPT, [batch()], samples, zone=ZoneInfo("UTC"))
    assert len(html) < 400_000
    titles = [attributes["title"] for tag, attributes in Page(html).elements if "title" in attributes]
    assert any("(1,000,000 characters)" in (title or "") for title in titles)


def test_a_thousand_batches_stay_readable() -> None:
    many = [batch(n, status="failed" if n == 777 else "completed") for n in range(1, 1001)]
    html = render_page(RECEIPT, many, [], zone=ZoneInfo("UTC"))
    made = Page(html)
    assert len(html) < 200_000
    assert "and 940 more" in made.text
    assert "chunk 777" in made.text
    assert "999 completed, 1 failed" in made.text


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [batch(posted=None, ended=None, phases=(), id=None, status="not posted", priced=False)],
        [batch(ended=None, phases=())],
        [batch(ended=START, phases=(("failed", START),), status="failed")],
        [batch(status="cancelling", posting=3, attempt=2, cost_usd=None, error="did not end")],
    ],
)
def test_batches_that_never_ran_or_never_ended_have_a_page_too(batches: list[BatchView]) -> None:
    made = page(batches=batches)
    assert ("Nothing was posted" in made.text) is (not batches)


def test_it_asks_nobody_for_anything() -> None:
    html = render_page(RECEIPT, [batch()], [sample("x")], zone=ZoneInfo("UTC"))
    made = Page(html)
    assert not {"script", "iframe", "img", "object", "a"} & {tag for tag, _ in made.elements}
    assert [attributes["href"] for _, attributes in made.elements if "href" in attributes] == ["data:,"]
    assert b"url(" not in html
    assert b"@import" not in html
    (policy,) = [a["content"] for _, a in made.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert (policy or "").startswith("default-src 'none';")


def test_tables_name_their_rows_and_columns() -> None:
    made = page(samples=[sample("x")], errors=[{"code": "x", "rows": 1, "example": "x"}])
    assert all("scope" in attributes for tag, attributes in made.elements if tag == "th")
    assert made.count("h1") == 1
    assert made.elements[0] == ("html", {"lang": "en"})


def test_the_same_run_makes_the_same_page() -> None:
    assert render_page(RECEIPT, [batch()], [sample("x")], zone=ZoneInfo("UTC")) == render_page(
        RECEIPT, [batch()], [sample("x")], zone=ZoneInfo("UTC")
    )
