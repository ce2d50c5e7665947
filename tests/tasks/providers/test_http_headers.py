"""When a reply says to come back: every way of writing it, and whatever else stands there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.providers.http_headers import http_date, retry_after

NOW = datetime(1994, 11, 6, 8, 49, 30, tzinfo=UTC)
IN_SEVEN_SECONDS = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "2678400"}, 2_678_400.0),
        # HTTP dates, in the three forms of RFC 9110, by our clock
        ({"retry-after": IN_SEVEN_SECONDS}, 7.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:49:37 GMT"}, 7.0),
        ({"retry-after": "Sun Nov  6 08:49:37 1994"}, 7.0),
        # ... and by that of the service, which says a time of its own
        ({"retry-after": IN_SEVEN_SECONDS, "date": "Sun, 06 Nov 1994 08:49:00 GMT"}, 37.0),
        ({"retry-after": IN_SEVEN_SECONDS, "date": "soon"}, 7.0),
        ({"retry-after": "Fri, 11 Nov 2044 08:49:37 GMT", "date": "Fri, 11 Nov 2044 08:49:30 GMT"}, 7.0),
        # milliseconds first
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "1500.5", "retry-after": "7"}, 1.5005),
        ({"retry-after-ms": "-1", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": IN_SEVEN_SECONDS}, None),
        # nonsense
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "+7"}, None),
        ({"retry-after": "7s"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "7, 8"}, None),
        ({"retry-after": "NaN"}, None),
        ({"retry-after": "Infinity"}, None),
        ({"retry-after": "2678401"}, None),
        ({"retry-after": "9" * 5_000}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:29 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 99999 08:49:37 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 25:61:61 GMT"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z, :0-9+-]{0,40}", fullmatch=True))
def test_no_text_is_an_exception_or_an_endless_wait(text: str) -> None:
    seconds = retry_after({"retry-after": text, "retry-after-ms": text, "date": text}, NOW)
    assert seconds is None or 0 <= seconds <= 2_678_400


@pytest.mark.parametrize(
    "text", [IN_SEVEN_SECONDS, "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 -0000"]
)
def test_a_date_is_utc_where_it_does_not_say(text: str) -> None:
    assert http_date(text) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
