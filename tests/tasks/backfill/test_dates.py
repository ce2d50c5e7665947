"""Which dates a backfill runs, and which now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from configs.errors import ConfigError
from tasks.backfill.dates import Night, NightState, chosen, dates, to_start, wait_seconds
from tasks.orchestration.child_runs import Child

D1, D2, D3, D4, D5 = (date(2026, 11, day) for day in range(1, 6))
ALIVE, OVER, FAILED = (
    Child("a", "Sleeping", False),
    Child("b", "Completed", True),
    Child("c", "Failed", True, "no"),
)


def test_a_range_holds_both_its_ends_in_the_order_asked_for() -> None:
    assert dates(D1, D3, "oldest first") == [D1, D2, D3]
    assert dates(D1, D3, "newest first") == [D3, D2, D1]
    assert dates(D1, D1, "oldest first") == [D1]


@pytest.mark.parametrize(("start", "end"), [(D2, D1), (D1, date(2036, 1, 1))])
def test_a_range_without_dates_or_of_decades_is_refused(start: date, end: date) -> None:
    with pytest.raises(ConfigError, match="give 1 to 1000 dates"):
        dates(start, end, "oldest first")


@pytest.mark.parametrize(
    ("only_missing", "redo", "taken"),
    [(True, False, [D2, D3]), (False, False, [D1, D2, D3]), (True, True, [D1, D2, D3])],
)
def test_finished_dates_are_left_alone_unless_asked_for(
    only_missing: bool, redo: bool, taken: Sequence[date]
) -> None:
    nights = [Night(D1, NightState.DONE), Night(D2, NightState.UNFINISHED), Night(D3, NightState.TO_BUY)]
    assert chosen(nights, only_missing=only_missing, redo=redo) == taken


@pytest.mark.parametrize(
    ("days", "children", "others", "most", "begun"),
    [
        ([D1, D2, D3], {}, (), 2, [D1, D2]),
        ([D3, D2, D1], {}, (), 2, [D3, D2]),
        ([D1, D2, D3], {D1: ALIVE, D2: ALIVE}, (), 2, []),
        ([D1, D2, D3], {D1: OVER, D2: ALIVE}, (), 2, [D3]),
        ([D1, D2, D3], {D1: FAILED, D2: FAILED}, (), 2, [D3]),  # one date's failure does not stop the others
        ([D2, D3], {D1: OVER}, (), 2, [D2, D3]),  # the ledger says D1 is done
        (
            [D1, D2],
            {D1: OVER, D2: FAILED},
            (),
            2,
            [],
        ),  # a date that failed is not begun again by the same backfill
        ([D1, D2, D3], {}, {D1}, 2, [D2, D3]),  # somebody else is at D1
        ([D4, D5], {D1: ALIVE, D2: ALIVE, D3: ALIVE}, (), 2, []),  # max_parallel was lowered
        ([], {}, (), 2, []),
    ],
)
def test_no_more_than_so_many_dates_are_unfinished(
    days: list[date], children: dict[date, Child], others: set[date], most: int, begun: list[date]
) -> None:
    assert to_start(days, children, others, most) == begun


@pytest.mark.parametrize(("age", "wait"), [(0, 10), (60, 15), (3600, 600), (10**6, 600)])
def test_old_runs_are_looked_at_rarely(age: float, wait: float) -> None:
    assert wait_seconds(age) == wait
