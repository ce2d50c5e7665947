"""What is taken for whole, what is fetched again, and what a run does with files that stay as they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.merge.wholeness import Counts, ResultTally, Verdict, judge
from tasks.stages.wire.openai.results import ResultParser

PARSER = ResultParser("/v1/chat/completions")
ROWS = ("a", "b", "c")


def good(custom_id: str) -> bytes:
    body = {"model": "m", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    line = {"id": "1", "custom_id": custom_id, "response": {"status_code": 200, "body": body}}
    return json.dumps(line).encode() + b"\n"


def error(custom_id: str, code: str) -> bytes:
    return json.dumps({"custom_id": custom_id, "error": {"code": code}}).encode() + b"\n"


A, B, C = map(good, ROWS)
CUT_C, ILLEGIBLE = C[:-30], b'{"id":"1","cust\n'
COMPLETED = Counts(complete=True, completed=3, failed=0)
UNCOUNTED = Counts(complete=True)


def tally_of(data: bytes, piece: int = 1 << 20) -> ResultTally:
    tally = ResultTally(PARSER, frozenset(ROWS))
    for start in range(0, len(data), piece):
        tally.write(data[start : start + piece])
    tally.end_file()
    return tally


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (A + B + C, COMPLETED),
        (C + A + B + B, COMPLETED),
        (A + B + C[:-1], COMPLETED),
        (A + B + C, UNCOUNTED),
        (A + B + C, Counts(complete=True, completed=0, failed=0)),
        (A + B + error("c", "batch_expired"), Counts(complete=False, completed=2)),
        (A + B + error("c", "server_error"), Counts(complete=True, completed=2, failed=1)),
        (A, Counts(complete=True, completed=1, failed=0)),  # the others were never answered
        (A, Counts(complete=False, completed=1)),
        (b"", Counts(complete=False)),
        (A + B + C, Counts(complete=True, completed=10**30)),
    ],
)
def test_files_with_a_line_for_all_that_was_answered_are_whole(data: bytes, counts: Counts) -> None:
    assert judge(tally_of(data), counts) == Verdict()


@pytest.mark.parametrize(
    ("data", "counts", "stops", "one_left"),
    [
        (A + B, COMPLETED, True, False),
        (A + B, Counts(complete=False, completed=3), True, False),
        (A + B, UNCOUNTED, False, False),
        (A + B, Counts(complete=True, completed=2, failed=1), False, False),  # a failed row may have no line
        (A + error("b", "x"), Counts(complete=True, completed=2, failed=1), True, False),
        (A + B + CUT_C, COMPLETED, False, False),
        (A + CUT_C, COMPLETED, True, False),
        (A + CUT_C, UNCOUNTED, True, False),  # what stood behind the cut is not known
        (A + B + ILLEGIBLE, COMPLETED, False, True),
        (A + ILLEGIBLE, COMPLETED, True, False),
        (A + ILLEGIBLE + ILLEGIBLE, UNCOUNTED, True, False),
        (A + B + C + ILLEGIBLE, COMPLETED, False, False),
        (good("x") + good("y"), COMPLETED, True, False),
        (good("x") + good("y"), UNCOUNTED, True, False),
        (b"<html>\n<body>\n</html>\n", COMPLETED, True, False),
        (b"", COMPLETED, True, False),
        (b"", UNCOUNTED, True, False),
    ],
)
def test_files_that_are_not_whole_are_fetched_again_and_stop_the_run_where_a_purchase_would_be_a_guess(
    data: bytes, counts: Counts, stops: bool, one_left: bool
) -> None:
    verdict = judge(tally_of(data), counts)
    assert verdict.doubt
    assert (verdict.stops, verdict.one_left) == (stops, one_left)


@given(st.integers(1, 200), st.integers(0, 400))
def test_lines_are_counted_the_same_however_they_arrive(piece: int, cut: int) -> None:
    data = (A + B + ILLEGIBLE + good("x") + C)[: len(A + B + C) + 100 - cut]
    assert tally_of(data, piece) == tally_of(data)
