"""Reading ahead changes when things are read, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tasks.storage.prefetch import read_ahead


@pytest.mark.parametrize("count", [0, 1, 8, 100])
def test_all_items_come_in_order(count: int) -> None:
    assert list(read_ahead(iter(range(count)), depth=3)) == list(range(count))


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("line 2")

    ahead = read_ahead(broken())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="line 2"):
        next(ahead)


def test_no_more_than_the_depth_is_taken_in_advance_and_closing_ends_the_thread() -> None:
    taken: list[int] = []
    reached = threading.Event()

    def endless() -> Iterator[int]:
        number = 0
        while True:
            taken.append(number)
            if number == 4:
                reached.set()
            yield number
            number += 1

    ahead = read_ahead(endless(), depth=3)
    assert next(ahead) == 0
    assert reached.wait(60)
    ahead.close()
    assert len(taken) <= 1 + 3 + 1 + 1
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_reading_ahead_is_bounded_by_the_weight_of_the_items_too() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for size in (4, 4, 4, 99, 1):
            taken.append(size)
            yield size

    ahead = read_ahead(items(), depth=8, weigh=lambda size: size, most=8)
    assert next(ahead) == 4
    assert len(taken) <= 3  # two are held and a third waits for room
    assert list(ahead) == [4, 4, 99, 1]
