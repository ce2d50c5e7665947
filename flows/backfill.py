"""The flow `backfill`: one `enrich` run per date of a range. Plan, start a few at a time, sleep, publish the results."""

import os
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from configs.clock import SystemClock
from configs.options import parameters_from
from configs.request import DateRange, RunRequest
from tasks.backfill.plan import plan_as_rows, plan_backfill
from tasks.backfill.publish import publish_outcome, publish_plan
from tasks.backfill.run import run_dates
from tasks.orchestration.blocks import load_home
from tasks.orchestration.child_runs import child_runs_of_current_run
from tasks.orchestration.run_states import job_name, one_line_failures


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    return f"backfill {job_name(parameters['job'])} {parameters['start']} to {parameters['end']}"


@flow(name="backfill", flow_run_name=_flow_run_name, persist_result=False, retries=0)
@one_line_failures
@parameters_from(DateRange, RunRequest, without=("date", "key"))
def backfill(dates: DateRange, request: RunRequest) -> Any:
    """Enrich every date of a range, each in a run of its own.

    A date that fails does not stop the others. Run again, it continues with the dates that are missing.
    """
    clock, home = SystemClock(), load_home(os.environ)
    plan = plan_backfill(request, dates, home)
    with child_runs_of_current_run(plan.run_title, clock) as runs:
        if not runs.started():  # not after a sleep: the table shows the plan as it was at the beginning
            publish_plan(plan)
        if request.dry_run:
            return plan_as_rows(plan)
        plan = run_dates(plan, runs, home, clock)
        return publish_outcome(plan, runs.started(), home)
