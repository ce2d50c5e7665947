"""A range of dates, and what there is to do for each: pure decisions of a backfill."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from configs.errors import ConfigError
from configs.request import DateRange
from tasks.backfill.date_runs import BackfillProgress, DateRun

_TOO_MANY = 1000


class DateState(StrEnum):
    """What the ledger knows of a date."""

    DONE = "done"
    UNFINISHED = "unfinished"
    NOT_RUN = "not run yet"
    NO_SOURCE = "no source"


@dataclass(frozen=True)
class DatePlan:
    """One date of a backfill. `rows` is None where only reading the source would tell.

    `unanswered` counts the rows that its finished run has no answer for; `output` is where its rows are published.
    """

    day: date
    state: DateState
    rows: int | None = None
    batches: int = 0
    problem: str = ""
    unanswered: int = 0
    output: str = ""


def dates_of(asked: DateRange) -> list[date]:
    """Every date from `start` to `end`, both included. ConfigError when there is none, or absurdly many."""
    count = (asked.end - asked.start).days + 1
    if not 0 < count <= _TOO_MANY:
        raise ConfigError(
            f"--start {asked.start} --end {asked.end}: give 1 to {_TOO_MANY} dates, the earlier one as start"
        )
    days = [asked.start + timedelta(days=number) for number in range(count)]
    return days if asked.order == "oldest first" else days[::-1]


def dates_to_run(plans: Sequence[DatePlan], *, only_missing: bool, redo: bool, retry: bool) -> list[date]:
    """The dates that need a run. One whose source is missing has failed already; what is finished is left alone, unless
    all of it is asked for again, or it has rows to retry."""

    def is_wanted(plan: DatePlan) -> bool:
        if plan.state is DateState.DONE:
            return redo or not only_missing or (retry and plan.unanswered > 0)
        return plan.state is not DateState.NO_SOURCE

    return [plan.day for plan in plans if is_wanted(plan)]


def at_once(plans: Sequence[DatePlan], max_parallel: int) -> int:
    """How many dates may run at a time: one, where several replace the same output."""
    outputs = {plan.output for plan in plans}
    return max(1, max_parallel) if len(outputs) == len(plans) else 1


def dates_to_start(
    days: Sequence[date], started: Mapping[date, DateRun], elsewhere: Collection[date], most: int
) -> list[date]:
    """The dates whose runs start now, so that at most `most` are unfinished.

    `elsewhere` are dates that somebody else's flow run is working on: they are waited for, not started.
    """
    running = sum(not run.over for run in started.values())
    waiting = [day for day in days if day not in started and day not in elsewhere]
    return waiting[: max(0, most - running)]


def progress(
    plans: Sequence[DatePlan],
    days: Collection[date],
    started: Mapping[date, DateRun],
    elsewhere: Collection[date],
) -> BackfillProgress:
    """Counts for people. `days` are the dates that need a run; one that was finished before is done."""
    running = sum(not run.over for run in started.values()) + len(elsewhere)
    ended_well = sum(run.over and not run.failure for run in started.values())
    before = sum(
        plan.state is DateState.DONE and plan.day not in days and plan.day not in started for plan in plans
    )
    return BackfillProgress(before + ended_well, running, len(plans))


def is_over(days: Iterable[date], started: Mapping[date, DateRun]) -> bool:
    """Whether the run of every date that needs one was started and has ended."""
    return all(run.over for run in started.values()) and all(day in started for day in days)


def wait_seconds(started: Iterable[DateRun], now: datetime) -> float:
    """How long to sleep before looking again: a quarter of the age of the run that was started last."""
    youngest = min(((now - (run.made_at or now)).total_seconds() for run in started), default=0.0)
    return min(600.0, max(10.0, youngest / 4))
