"""CSV and Markdown: every value comes back as it went in, and nothing breaks the table."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import pandas as pd
import pytest

from tasks.stages.report.tables import as_csv, as_markdown

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)


class State(StrEnum):
    DONE = "done"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (1, "1"),
        (1_234_567, "1234567"),
        (2**63, "9223372036854775808"),
        (0.1, "0.1"),
        (0.0, "0.0"),
        ("0001", "0001"),
        (State.DONE, "done"),
        (NOON, "2026-11-21T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=9))), "2026-11-21T12:00:00Z"),
    ],
)
def test_values_read_the_same_in_both_also_beside_a_null(value: object, text: str) -> None:
    rows = [{"a": value, "b": "x"}, {"a": None, "b": "y"}]
    assert list(csv.reader(io.StringIO(as_csv(("a", "b"), rows)))) == [["a", "b"], [text, "x"], ["", "y"]]
    assert as_markdown(("a", "b"), rows).splitlines()[2:] == [f"| {text} | x |", "|  | y |"]


@pytest.mark.parametrize(
    "text", ["a,b", 'say "no"', "two\nlines", "lone\rreturn", "dos\r\nlines", "日本 | 語"]
)
def test_a_text_stays_one_cell(text: str) -> None:
    rows = [{"a": text, "b": 1}]
    written = as_csv(("a", "b"), rows)
    read = list(csv.reader(io.StringIO(written, newline="")))
    assert read[1] == [text.replace("\r\n", "\n").replace("\r", "\n"), "1"]
    assert pd.read_csv(io.StringIO(written))["b"].tolist() == [1]
    assert len(as_markdown(("a", "b"), rows).splitlines()) == 3


def test_markdown_keeps_pipes_and_html_from_meaning_anything() -> None:
    row = {"error": "<html>a|b\n  c</html>", "count": 2}
    assert as_markdown(("error", "count"), [row]) == (
        "| error | count |\n| --- | --: |\n| &lt;html>a\\|b c&lt;/html> | 2 |\n"
    )


def test_columns_are_those_asked_for_in_their_order_even_without_rows() -> None:
    assert as_csv(("b", "a"), [{"a": 1, "b": 2, "c": 3}]) == "b,a\n2,1\n"
    assert as_csv(("b", "a"), []) == "b,a\n"
    assert as_markdown(("b", "a"), []) == "| b | a |\n| --- | --- |\n"
