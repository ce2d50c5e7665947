"""A range of dates, one `enrich` run each, a few at a time: the one loop of every backfill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.clock import Clock
from configs.errors import NightmailError
from configs.home import Home
from tasks.backfill.date_runs import DateRuns
from tasks.backfill.dates import dates_to_start, is_over, progress, wait_seconds
from tasks.backfill.plan import BackfillPlan, look_again


def run_dates(plan: BackfillPlan, runs: DateRuns, home: Home, clock: Clock) -> BackfillPlan:
    """Start the run of every date that needs one; return when all of them have ended.

    One date's failure does not stop the others. Under a deployment `runs.wait` ends the process, and the next one
    begins here again, with a new plan and the runs that were started so far.
    """
    while True:
        days, started = plan.days_to_run, dict(runs.started())
        elsewhere = runs.elsewhere([day for day in days if day not in started])
        for day in dates_to_start(days, started, elsewhere, plan.at_once):
            started[day] = runs.start(plan.request_for(day))
        if is_over(days, started):
            return plan
        runs.wait(wait_seconds(started.values(), clock.now()), progress(plan.dates, days, started, elsewhere))
        plan = look_again(plan, elsewhere, home)


def raise_for_failures(rows: Sequence[dict[str, Any]]) -> None:
    """NightmailError when dates failed: how many, and the first with its reason."""
    failed = [row for row in rows if row["failure"]]
    if not failed:
        return
    names = ", ".join(row["date"] for row in failed)
    raise NightmailError(
        f"{len(failed)} of {len(rows)} dates failed: {names}; {failed[0]['date']}: {failed[0]['failure']};"
        " the same backfill again takes only what is missing"
    )
