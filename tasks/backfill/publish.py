"""A backfill's plan and outcome as tables of its flow run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from configs.home import Home
from tasks.backfill.date_runs import DateRun
from tasks.backfill.plan import BackfillPlan, outcome_as_rows, plan_as_rows
from tasks.backfill.run import raise_for_failures
from tasks.orchestration.artifacts import keep_table


def publish_plan(plan: BackfillPlan) -> None:
    """Leave the plan as a table, as it was before anything was started."""
    keep_table(f"backfill-plan-{plan.job_name}", plan_as_rows(plan), _title("Plan", plan))


def publish_outcome(plan: BackfillPlan, runs: Mapping[date, DateRun], home: Home) -> list[dict[str, Any]]:
    """Leave what came of every date as a table, and return it. NightmailError names the dates that failed."""
    rows = outcome_as_rows(plan, runs, home)
    for entry, row in zip(plan.dates, rows, strict=True):
        row["run"] = runs[entry.day].link if entry.day in runs else None
    keep_table(f"backfill-{plan.job_name}", rows, _title("What came of", plan))
    raise_for_failures(rows)
    return rows


def _title(what: str, plan: BackfillPlan) -> str:
    return f"{what} {plan.job_name} {plan.range.start} to {plan.range.end}"
