from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.prompt import tokens
from tasks.stages.prompt.render import Skip
from tasks.stages.prompt.shard import MAX_BYTES, MAX_REQUESTS, MAX_ROWS, FileLimits, Sharder
from tasks.stages.prompt.tokens import Weights

Lines = Sequence[bytes | Skip | None]
BAD = Skip("template_error", "no")
PLAIN = Weights()


def chunks_of(
    sharder: Sharder, batches: Sequence[Lines], weights: Weights = PLAIN, *, once: bool = False
) -> list[dict[str, Any]]:
    """What a writer that obeys makes of it: per chunk its rows, bytes, requests, units and skipped rows."""
    chunks: list[dict[str, Any]] = []
    first = 0
    for lines in batches:
        expected_start = 0
        keys = [line if isinstance(line, bytes) else b"" for line in lines] if once else None
        for piece in sharder.pieces(lines, weights, keys):
            assert piece.start == expected_start
            assert piece.stop > piece.start
            expected_start = piece.stop
            if piece.new_chunk:
                chunks.append({"rows": [], "payload": b"", "requests": 0, "units": 0, "skipped": {}})
            chunk = chunks[-1]
            chunk["rows"] += range(first + piece.start, first + piece.stop)
            chunk["payload"] += piece.payload
            chunk["requests"] += piece.requests
            chunk["units"] += piece.token_units
            chunk["skipped"] |= {first + row: skip.code for row, skip in piece.skipped}
        assert expected_start == len(lines)
        first += len(lines)
    return chunks


def reference(
    limits: FileLimits, batches: Sequence[Lines], weights: Weights, *, once: bool = False
) -> list[dict[str, Any]]:
    """One line at a time, as one would write it down."""
    chunks: list[dict[str, Any]] = []
    fresh = {"rows": [], "payload": b"", "requests": 0, "units": 0, "skipped": {}}
    for row, line in enumerate(line for lines in batches for line in lines):
        too_large = isinstance(line, bytes) and len(line) > min(
            limits.max_bytes, limits.max_line_bytes or len(line)
        )
        if not chunks or len(chunks[-1]["rows"]) == limits.max_rows:
            chunks.append({key: type(value)(value) for key, value in fresh.items()})
        chunk = chunks[-1]
        if not isinstance(line, bytes) or too_large:
            if line is not None:
                chunk["skipped"][row] = "row_too_large" if too_large else line.code
            chunk["rows"].append(row)
            continue
        if once and line in chunk["payload"].splitlines(keepends=True):
            chunk["rows"].append(row)
            continue
        units = weights.units(line, (row,))
        if chunk["requests"] and (
            chunk["requests"] + 1 > limits.max_requests
            or len(chunk["payload"]) + len(line) > limits.max_bytes
            or (limits.max_tokens is not None and chunk["units"] + units > limits.max_tokens * tokens.UNITS)
        ):
            chunks.append({key: type(value)(value) for key, value in fresh.items()})
            chunk = chunks[-1]
        chunk["rows"].append(row)
        chunk["payload"] += line
        chunk["requests"] += 1
        chunk["units"] += units
    return chunks


text_lines = st.text("ab日😀", max_size=12).map(lambda text: text.encode() + b"\n")
micro_batches = st.lists(st.lists(text_lines | st.just(BAD) | st.none(), max_size=12), max_size=8)
some_limits = st.builds(
    FileLimits,
    max_requests=st.integers(1, 20),
    max_bytes=st.integers(5, 120),
    max_line_bytes=st.none() | st.integers(5, 40),
    max_tokens=st.none() | st.integers(1, 60),
    max_rows=st.just(MAX_ROWS) | st.integers(1, 30),
)
some_weights = st.builds(Weights, st.integers(0, 300_000), st.integers(0, 25), st.integers(200, 3_000))


@given(micro_batches, some_limits, some_weights)
def test_cuts_as_one_line_at_a_time_would(batches: list[Lines], limits: FileLimits, weights: Weights) -> None:
    assert chunks_of(Sharder(limits), batches, weights) == reference(limits, batches, weights)


@given(micro_batches, some_limits, some_weights)
def test_asks_once_what_a_chunk_asks_more_than_once(
    batches: list[Lines], limits: FileLimits, weights: Weights
) -> None:
    found = chunks_of(Sharder(limits), batches, weights, once=True)
    assert found == reference(limits, batches, weights, once=True)


def test_a_copy_says_which_row_of_its_chunk_it_is_a_copy_of() -> None:
    sharder = Sharder(FileLimits(max_rows=5))
    lines = [b"a\n", BAD, None, b"b\n", b"a\n", b"b\n", b"b\n"]
    pieces = [*sharder.pieces(lines, PLAIN, lines), *sharder.pieces([b"a\n", b"b\n"], PLAIN, [b"a", b"b\n"])]
    assert [(piece.start, piece.payload, piece.copies) for piece in pieces] == [
        (0, b"a\nb\n", ((4, 0),)),
        (5, b"b\n", ((6, 0),)),
        (0, b"a\n", ((1, 0),)),
    ]


@given(micro_batches, some_limits)
def test_chunks_are_the_input_within_limits_and_greedy(batches: list[Lines], limits: FileLimits) -> None:
    chunks = chunks_of(Sharder(limits), batches)
    largest = min(limits.max_bytes, limits.max_line_bytes or limits.max_bytes)
    kept = [line for lines in batches for line in lines if isinstance(line, bytes) and len(line) <= largest]
    assert b"".join(chunk["payload"] for chunk in chunks) == b"".join(kept)
    assert [row for chunk in chunks for row in chunk["rows"]] == list(range(sum(map(len, batches))))
    allowed = float("inf") if limits.max_tokens is None else limits.max_tokens * tokens.UNITS
    for chunk in chunks:
        assert chunk["requests"] <= limits.max_requests
        assert len(chunk["rows"]) <= limits.max_rows
        assert len(chunk["payload"]) <= limits.max_bytes
        assert chunk["units"] <= allowed or chunk["requests"] == 1
    for chunk, successor in pairwise(chunks):
        first = successor["payload"].split(b"\n")[0] + b"\n"
        assert (
            chunk["requests"] == limits.max_requests
            or len(chunk["rows"]) == limits.max_rows
            or len(chunk["payload"]) + len(first) > limits.max_bytes
            or chunk["units"] + PLAIN.units(first, (0,)) > allowed
        )


@pytest.mark.parametrize(
    ("max_bytes", "chunks"), [(30, 1), (29, 2), (20, 2), (19, 3), (10, 3)], ids=lambda value: str(value)
)
def test_is_exact_to_the_byte_with_the_final_newline(max_bytes: int, chunks: int) -> None:
    line = b"123456789\n"
    assert len(chunks_of(Sharder(FileLimits(max_bytes=max_bytes)), [[line, line], [line]])) == chunks


@pytest.mark.parametrize(("rows", "chunks"), [(MAX_REQUESTS, 1), (MAX_REQUESTS + 1, 2)])
def test_fills_a_file_to_the_providers_request_limit(rows: int, chunks: int) -> None:
    batches = [[b"{}\n"] * min(1024, rows - start) for start in range(0, rows, 1024)]
    found = chunks_of(Sharder(FileLimits()), batches)
    assert [chunk["requests"] for chunk in found] == [MAX_REQUESTS, rows - MAX_REQUESTS][:chunks]


def test_default_limit_is_under_both_readings_of_200_mb() -> None:
    assert MAX_BYTES == 200_000_000 < 209_715_200


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (FileLimits(max_bytes=1_000), "the request is 1,001 bytes; one batch file takes 1,000"),
        (FileLimits(max_line_bytes=1_000), "the request is 1,001 bytes; one request line takes 1,000"),
    ],
)
def test_a_line_too_large_is_skipped_with_both_numbers_and_the_rest_goes_on(
    limits: FileLimits, reason: str
) -> None:
    [piece] = Sharder(limits).pieces([b"a\n", b"x" * 1_000 + b"\n", b"b\n"])
    assert piece.payload == b"a\nb\n"
    assert piece.skipped == ((1, Skip("row_too_large", reason)),)


def test_a_line_estimated_over_the_token_limit_goes_alone() -> None:
    lines = [b"abcd", b"x" * 400, b"efgh"]
    found = chunks_of(Sharder(FileLimits(max_tokens=10)), [lines])
    assert [chunk["payload"] for chunk in found] == lines


def test_skipped_rows_stay_in_the_chunk_they_stand_in() -> None:
    found = chunks_of(Sharder(FileLimits(max_requests=1)), [[b"a\n", BAD], [BAD, b"b\n"]])
    assert [chunk["rows"] for chunk in found] == [[0, 1, 2], [3]]


def test_rows_that_need_no_request_fill_a_chunk_by_their_number_alone() -> None:
    found = chunks_of(Sharder(FileLimits(max_rows=3)), [[None, None], [None, b"a\n", None], [None, BAD]])
    assert [(chunk["rows"], chunk["requests"]) for chunk in found] == [
        ([0, 1, 2], 0),
        ([3, 4, 5], 1),
        ([6], 0),
    ]


def test_rows_that_are_all_skipped_make_one_chunk_without_requests() -> None:
    [chunk] = chunks_of(Sharder(FileLimits()), [[BAD] * 3, [BAD]])
    assert (chunk["requests"], chunk["payload"], len(chunk["rows"])) == (0, b"", 4)


def test_no_rows_make_no_chunk() -> None:
    assert chunks_of(Sharder(FileLimits()), [[], []]) == []


def test_a_forced_cut_begins_a_chunk_with_full_room() -> None:
    sharder = Sharder(FileLimits(max_requests=2))
    before = list(sharder.pieces([b"a\n"]))
    sharder.begin_chunk()
    after = list(sharder.pieces([b"b\n", b"c\n"]))
    assert [piece.new_chunk for piece in before + after] == [True, True]


@pytest.mark.parametrize(
    ("batches", "sizes"),
    [
        ([[b"a\n", b"b\n", b"c\n"]], [1, 2]),
        ([[b"a\n"], [b"b\n"], [b"c\n"]], [1, 2]),
        ([[BAD, None, b"a\n", BAD, b"b\n"]], [1, 1]),
        ([[BAD], [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n"]], [1, 3, 1]),
        ([[b"a\n"]], [1]),
    ],
)
def test_the_first_request_alone_in_its_chunk(batches: list[list[Any]], sizes: list[int]) -> None:
    sharder = Sharder(FileLimits(max_requests=3))
    sharder.first_alone = True
    assert [chunk["requests"] for chunk in chunks_of(sharder, batches)] == sizes


def test_a_line_too_large_to_post_brings_none_of_its_media() -> None:
    weights = Weights(line_units=1_000, extra={0: 70_000, 1: 5_000})
    [piece] = Sharder(FileLimits(max_line_bytes=10)).pieces([b"x" * 11, b"xxxx"], weights)
    assert piece.token_units == 100 * 1_000 + 1_000 + 5_000
