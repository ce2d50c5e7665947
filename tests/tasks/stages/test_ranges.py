"""Ranges: how many rows they have. What they are read as: tests/tasks/runs/test_prepared_ranges.py."""

from __future__ import annotations

import pytest

from tasks.stages.ranges import Ranges


@pytest.mark.parametrize(
    ("requests", "rows"), [(50_000, 200_000), (3, 200_001), (70_000, 210_000), (10**6, 10**6)]
)
def test_a_range_is_whole_chunks(requests: int, rows: int) -> None:
    assert Ranges.of_whole_chunks(requests).rows == rows


@pytest.mark.parametrize(("rows", "count"), [(0, 0), (1, 1), (3, 1), (4, 2), (6, 2)])
def test_each_row_is_in_one_range(rows: int, count: int) -> None:
    ranges = Ranges(3)
    assert ranges.count(rows) == count
    assert sorted({ranges.range_of(row) for row in range(rows)}) == list(range(count))
