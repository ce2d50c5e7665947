"""The loop of a backfill: one `enrich` run per date, a few at a time. Command line and flow both use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.clock import Clock
from configs.errors import NightmailError
from configs.home import Home
from tasks.backfill.date_runs import DateRuns
from tasks.backfill.dates import all_ended, count_progress, dates_to_start, wait_seconds
from tasks.backfill.plan import BackfillPlan, refresh_plan


def run_dates(plan: BackfillPlan, runs: DateRuns, home: Home, clock: Clock) -> BackfillPlan:
    """Start a run for every date that needs one; return when all of them have ended.

    A date that fails does not stop the others. In a deployment `runs.wait` ends the process (a durable sleep); the next
    process starts here again, with a new plan and the runs that were started so far.
    """
    while True:
        days, started = plan.days_to_run, dict(runs.started())
        running_elsewhere = runs.running_elsewhere([day for day in days if day not in started])
        for day in dates_to_start(days, started, running_elsewhere, plan.parallelism):
            started[day] = runs.start(plan.request_for(day))
        if all_ended(days, started):
            return plan
        runs.wait(
            wait_seconds(started.values(), clock.now()),
            count_progress(plan.dates, days, started, running_elsewhere),
        )
        plan = refresh_plan(plan, running_elsewhere, home)


def raise_for_failures(rows: Sequence[dict[str, Any]]) -> None:
    """Raise NightmailError if dates failed: it names them all, and the reason of the first."""
    failed = [row for row in rows if row["failure"]]
    if not failed:
        return
    names = ", ".join(row["date"] for row in failed)
    raise NightmailError(
        f"{len(failed)} of {len(rows)} dates failed: {names}; {failed[0]['date']}: {failed[0]['failure']};"
        " run the same backfill again: it runs only the dates that are missing"
    )
