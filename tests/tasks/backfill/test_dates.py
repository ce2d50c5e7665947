"""Which dates a backfill runs, and which now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from configs.errors import ConfigError
from configs.request import DateOrder, DateRange
from tasks.backfill.dates import (
    DatePlan,
    DateState,
    all_ended,
    count_progress,
    dates_of,
    dates_to_run,
    dates_to_start,
    parallelism,
    wait_seconds,
)

D1, D2, D3, D4, D5 = (date(2026, 11, day) for day in range(1, 6))
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class Run:
    ended: bool
    failure: str = ""
    created_at: datetime | None = None
    link: None = None


ALIVE, OVER, FAILED = Run(ended=False), Run(ended=True), Run(ended=True, failure="no")


def asked(start: date, end: date, order: DateOrder = "oldest first") -> DateRange:
    return DateRange(start=start, end=end, order=order)


def test_a_range_holds_both_its_ends_in_the_order_asked_for() -> None:
    assert dates_of(asked(D1, D3)) == [D1, D2, D3]
    assert dates_of(asked(D1, D3, "newest first")) == [D3, D2, D1]
    assert dates_of(asked(D1, D1)) == [D1]


@pytest.mark.parametrize(("start", "end"), [(D2, D1), (D1, date(2036, 1, 1))])
def test_a_range_without_dates_or_of_decades_is_refused(start: date, end: date) -> None:
    with pytest.raises(ConfigError, match="give 1 to 1000 dates"):
        dates_of(asked(start, end))


@pytest.mark.parametrize(
    ("only_missing", "redo", "retry", "taken"),
    [
        (True, False, False, [D3, D4]),
        (False, False, False, [D1, D2, D3, D4]),
        (True, True, False, [D1, D2, D3, D4]),
        (True, False, True, [D2, D3, D4]),  # of the finished dates, the one with rows to retry
    ],
)
def test_finished_dates_are_left_alone_unless_asked_for(
    only_missing: bool, redo: bool, retry: bool, taken: Sequence[date]
) -> None:
    plans = [
        DatePlan(D1, DateState.DONE),
        DatePlan(D2, DateState.DONE, unanswered=3),
        DatePlan(D3, DateState.UNFINISHED),
        DatePlan(D4, DateState.NOT_RUN),
        DatePlan(D5, DateState.NO_SOURCE),
    ]
    assert dates_to_run(plans, only_missing=only_missing, redo=redo, retry=retry) == taken


@pytest.mark.parametrize(
    ("days", "started", "running_elsewhere", "most", "begun"),
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
        ),  # a date that failed is not started again by the same backfill
        ([D1, D2, D3], {}, {D1}, 2, [D2, D3]),  # somebody else is at D1
        ([D4, D5], {D1: ALIVE, D2: ALIVE, D3: ALIVE}, (), 2, []),  # max_parallel was lowered
        ([], {}, (), 2, []),
    ],
)
def test_no_more_than_so_many_dates_are_unfinished(
    days: list[date], started: dict[date, Run], running_elsewhere: set[date], most: int, begun: list[date]
) -> None:
    assert dates_to_start(days, started, running_elsewhere, most) == begun


@pytest.mark.parametrize(
    ("outputs", "max_parallel", "expected"),
    [(("out/1", "out/2"), 2, 2), (("out", "out"), 2, 1), (("out",), 4, 4), (("out/1", "out/2"), 0, 1)],
)
def test_dates_that_replace_the_same_output_run_one_at_a_time(
    outputs: tuple[str, ...], max_parallel: int, expected: int
) -> None:
    plans = [DatePlan(D1, DateState.NOT_RUN, output=output) for output in outputs]
    assert parallelism(plans, max_parallel) == expected


@pytest.mark.parametrize(
    ("days", "started", "ended"),
    [
        ([D1, D2], {D1: OVER}, False),
        ([D1, D2], {D1: OVER, D2: ALIVE}, False),
        ([D1, D2], {D1: OVER, D2: FAILED}, True),
        ([], {D1: ALIVE}, False),  # done by the ledger, and its run is just ending
        ([], {}, True),
    ],
)
def test_a_backfill_is_over_when_every_date_that_needs_a_run_has_had_one(
    days: list[date], started: dict[date, Run], ended: bool
) -> None:
    assert all_ended(days, started) is ended


@pytest.mark.parametrize(
    ("states", "days", "started", "running_elsewhere", "said"),
    [
        ((DateState.NOT_RUN,) * 3, [D1, D2, D3], {D1: ALIVE}, (), "0/3 dates done, 1 running, 2 others"),
        (
            (DateState.DONE, DateState.NO_SOURCE, DateState.NOT_RUN),
            [D3],
            {},
            {D3},
            "1/3 dates done, 1 running, 1 others",
        ),
        # Of what is finished and asked for again, only what was done again is done.
        (
            (DateState.DONE,) * 3,
            [D1, D2, D3],
            {D1: OVER, D2: ALIVE},
            (),
            "1/3 dates done, 1 running, 1 others",
        ),
        # A new process finds in the ledger what the one before it started.
        (
            (DateState.DONE,) * 3,
            [],
            {D1: OVER, D2: OVER, D3: OVER},
            (),
            "3/3 dates done, 0 running, 0 others",
        ),
        ((DateState.NOT_RUN,) * 3, [D1, D2, D3], {D1: FAILED}, (), "0/3 dates done, 0 running, 3 others"),
    ],
)
def test_progress_counts_every_date_once(
    states: Sequence[DateState],
    days: list[date],
    started: dict[date, Run],
    running_elsewhere: set[date],
    said: str,
) -> None:
    plans = [DatePlan(day, state) for day, state in zip((D1, D2, D3), states, strict=True)]
    assert str(count_progress(plans, days, started, running_elsewhere)) == said


@pytest.mark.parametrize(("age", "wait"), [(0, 10), (60, 15), (3600, 600), (10**6, 600)])
def test_old_runs_are_looked_at_rarely(age: float, wait: float) -> None:
    old, older = (Run(ended=False, created_at=NOW - timedelta(seconds=age * times)) for times in (1, 2))
    assert wait_seconds([old, older], NOW) == wait
    assert wait_seconds([], NOW) == 10
