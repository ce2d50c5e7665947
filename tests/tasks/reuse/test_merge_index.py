"""The index after any number of runs is what a dictionary of their answers would be."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.reuse import merge_index
from tasks.reuse.index import EMPTY, DamagedIndex, Entries, Index, Source, open_index
from tasks.reuse.merge_index import IndexMaker
from tasks.stages.row_status import RowStatus
from tasks.storage.temporary import nameless_file

T0 = datetime(2026, 11, 1, tzinfo=UTC)
GOOD = RowStatus.SUCCEEDED


def source(run: int, bought: int | None = None) -> Source:
    """Answers in the folder of a run, bought by it or by an earlier one."""
    day = run if bought is None else bought
    return Source(f"r{run}", f"j/{run}", T0 + timedelta(days=run), T0 + timedelta(days=day), GOOD)


def entries(keys: list[tuple[int, int]], chunk: int = 1) -> Entries:
    return Entries(
        np.array([high for high, _ in keys], np.uint64),
        np.array([low for _, low in keys], np.uint64),
        np.zeros(len(keys), np.int64),
        np.full(len(keys), chunk),
        np.arange(len(keys)),
        np.arange(len(keys)) / 4,
    )


def made(maker: IndexMaker) -> Index:
    file = nameless_file()
    maker.write(file)
    file.flush()
    return open_index(file)


def found(index: Index, key: tuple[int, int]) -> tuple[str, int, int] | None:
    (place,) = index.find(np.array([key], np.uint64)).tolist()
    if place < 0:
        return None
    entry = index.entries
    return index.sources[int(entry.source[place])].run, int(entry.chunk[place]), int(entry.row[place])


halves = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
keys = st.lists(st.tuples(halves, halves), max_size=12)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.lists(keys, max_size=3)), max_size=5))
def test_the_answer_bought_last_is_found_where_it_was_kept_last(
    runs: list[tuple[int, int, list[list[tuple[int, int]]]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_index, "_BLOCK_ENTRIES", 4)
        index, expected = EMPTY, {}
        for run, age, chunks in runs:
            maker, of_run = IndexMaker(), source(run, max(0, run - age))
            maker.take_over(index, [True] * len(index.sources))
            for number, chunk in enumerate(chunks, 1):
                maker.add([of_run], entries(chunk, number))
                for row, key in enumerate(chunk):
                    rank = (of_run.answered_at, of_run.began, -number, -row)
                    if key not in expected or rank > expected[key][0]:
                        expected[key] = (rank, (of_run.run, number, row))
            index = made(maker)
        assert len(index.entries) == len(expected) == sum(each.entries for each in index.sources)
        highs = [high for high, _ in expected]
        for key, (_, where) in expected.items():
            assert found(index, key) in ([where] if highs.count(key[0]) == 1 else [where, None])
        for absent in {(high, low) for high in (0, 3, 2**64 - 1) for low in (0, 7)} - expected.keys():
            assert found(index, absent) is None


def test_answers_of_a_source_that_is_not_kept_are_gone() -> None:
    maker = IndexMaker()
    maker.add([source(1)], entries([(1, 1), (2, 2)]))
    maker.add([source(2)], entries([(3, 3)]))
    before = made(maker)
    after = IndexMaker()
    after.take_over(before, [each.run != "r1" for each in before.sources])
    index = made(after)
    assert [found(index, (n, n)) for n in (1, 2, 3)] == [None, None, ("r2", 1, 0)]
    assert [each.run for each in index.sources] == ["r2"]


def written() -> bytes:
    maker = IndexMaker()
    maker.add([source(1)], entries([(n, n) for n in range(9)]))
    sink = io.BytesIO()
    maker.write(sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[:-1],
        lambda data: data[5:],
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: data[:-30] + bytes([data[-30] ^ 1]) + data[-29:],
        lambda data: data[:-1] + b"9",
        lambda data: bytes(len(data)),
    ],
)
def test_a_damaged_file_is_no_index(damage: Any) -> None:
    file = nameless_file()
    file.write(damage(written()))
    file.flush()
    with pytest.raises(DamagedIndex):
        open_index(file)


def test_what_an_answer_cost_is_kept_with_it() -> None:
    file = nameless_file()
    file.write(written())
    file.flush()
    index = open_index(file)
    assert index.entries.usd[index.find(np.array([[8, 8]], np.uint64))].tolist() == [2.0]
    assert index.find(np.zeros((0, 2), np.uint64)).tolist() == []
