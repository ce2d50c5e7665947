"""Which page of a list is shown, whatever number is asked for."""

from __future__ import annotations

import pytest

from tasks.console.paging import Paging


@pytest.mark.parametrize(
    ("given", "total", "summary", "previous", "following"),
    [
        ("", 0, "none", None, None),
        ("", 50, "1–50 of 50", None, None),
        ("", 51, "1–50 of 51", None, "?search=a+b&page=2"),
        ("2", 51, "51–51 of 51", "?search=a+b&page=1", None),
        ("2", 2000, "51–100 of 2,000", "?search=a+b&page=1", "?search=a+b&page=3"),
        ("999", 51, "51–51 of 51", "?search=a+b&page=1", None),
        ("0", 51, "1–50 of 51", None, "?search=a+b&page=2"),
        ("-3", 51, "1–50 of 51", None, "?search=a+b&page=2"),
        ("٣", 200, "1–50 of 200", None, "?search=a+b&page=2"),
        ("9" * 5000, 51, "1–50 of 51", None, "?search=a+b&page=2"),
    ],
)
def test_a_page_that_is_not_there_becomes_one_that_is(
    given: str, total: int, summary: str, previous: str | None, following: str | None
) -> None:
    paging = Paging.of(given, total, {"search": "a b", "state": ""})
    assert (paging.summary, paging.previous, paging.next) == (summary, previous, following)
