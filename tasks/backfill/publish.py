"""Save a backfill's plan and result as table artifacts of its flow run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from configs.home import Home
from tasks.backfill.date_runs import DateRun
from tasks.backfill.plan import BackfillPlan, outcome_as_rows, plan_as_rows
from tasks.backfill.run import raise_for_failures
from tasks.orchestration.artifacts import save_table


def publish_plan(plan: BackfillPlan) -> None:
    """Save the plan as a table; called before anything is started."""
    save_table(f"backfill-plan-{plan.job_name}", plan_as_rows(plan), _title("Plan", plan))


def publish_outcome(plan: BackfillPlan, runs: Mapping[date, DateRun], home: Home) -> list[dict[str, Any]]:
    """Save the result of every date as a table, and return it. NightmailError names the dates that failed."""
    rows = outcome_as_rows(plan, runs, home)
    for entry, row in zip(plan.dates, rows, strict=True):
        row["run"] = runs[entry.day].link if entry.day in runs else None
    save_table(f"backfill-{plan.job_name}", rows, _title("Result of", plan))
    raise_for_failures(rows)
    return rows


def _title(heading: str, plan: BackfillPlan) -> str:
    return f"{heading} {plan.job_name} {plan.date_range.start} to {plan.date_range.end}"
