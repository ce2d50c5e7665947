"""Decide which dates of a backfill to run, and when: pure functions over plans and runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from configs.errors import ConfigError
from configs.request import DateRange
from tasks.backfill.date_runs import BackfillProgress, DateRun

_MAX_DATES = 1000  # almost three years: a longer range is a typing error


class DateState(StrEnum):
    """What the ledger records about a date's run."""

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


def dates_of(date_range: DateRange) -> list[date]:
    """Every date from `start` to `end`, both included. ConfigError when there are none or too many."""
    count = (date_range.end - date_range.start).days + 1
    if not 0 < count <= _MAX_DATES:
        raise ConfigError(
            f"--start {date_range.start} --end {date_range.end}: give 1 to {_MAX_DATES} dates, the earlier one as start"
        )
    days = [date_range.start + timedelta(days=number) for number in range(count)]
    return days if date_range.order == "oldest first" else days[::-1]


def dates_to_run(plans: Sequence[DatePlan], *, only_missing: bool, redo: bool, retry: bool) -> list[date]:
    """The dates that need a run.

    A date without a source has failed already. A finished date is left out, unless all finished dates are to be repeated
    or it has rows to retry.
    """

    def is_wanted(plan: DatePlan) -> bool:
        if plan.state is DateState.DONE:
            return redo or not only_missing or (retry and plan.unanswered > 0)
        return plan.state is not DateState.NO_SOURCE

    return [plan.day for plan in plans if is_wanted(plan)]


def parallelism(plans: Sequence[DatePlan], max_parallel: int) -> int:
    """How many dates may run at the same time: one if several write the same output, which they would replace."""
    outputs = {plan.output for plan in plans}
    return max(1, max_parallel) if len(outputs) == len(plans) else 1


def dates_to_start(
    days: Sequence[date],
    started: Mapping[date, DateRun],
    running_elsewhere: Collection[date],
    max_running: int,
) -> list[date]:
    """The dates to start now, so that at most `max_running` runs are unfinished.

    `running_elsewhere` are dates that a flow run outside this backfill is working on: a second run of the same date
    would fail with RunBusy, so they are waited for, not started.
    """
    running = sum(not run.ended for run in started.values())
    startable = [day for day in days if day not in started and day not in running_elsewhere]
    return startable[: max(0, max_running - running)]


def count_progress(
    plans: Sequence[DatePlan],
    days: Collection[date],
    started: Mapping[date, DateRun],
    running_elsewhere: Collection[date],
) -> BackfillProgress:
    """How many dates are done and running. `days` are the dates that need a run; dates finished before count as done."""
    running = sum(not run.ended for run in started.values()) + len(running_elsewhere)
    succeeded = sum(run.ended and not run.failure for run in started.values())
    finished_before = sum(
        plan.state is DateState.DONE and plan.day not in days and plan.day not in started for plan in plans
    )
    return BackfillProgress(finished_before + succeeded, running, len(plans))


def all_ended(days: Iterable[date], started: Mapping[date, DateRun]) -> bool:
    """Whether every date that needs a run has one, and all of them have ended."""
    return all(run.ended for run in started.values()) and all(day in started for day in days)


def wait_seconds(started: Iterable[DateRun], now: datetime) -> float:
    """Seconds until the next check: a quarter of the age of the newest run, from 10 seconds to 10 minutes.

    So runs that take minutes are followed closely, and runs that take hours cost few wakes.
    """
    newest_age = min(((now - (run.created_at or now)).total_seconds() for run in started), default=0.0)
    return min(600.0, max(10.0, newest_age / 4))
