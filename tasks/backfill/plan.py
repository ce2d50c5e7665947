"""Make the plan and the result table of a backfill, from the ledger and the sources' metadata. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from configs.errors import InputError
from configs.home import Home
from configs.job import Job
from configs.request import DateRange, RunRequest
from configs.trials import trial_key
from tasks.backfill.date_runs import DateRun
from tasks.backfill.dates import DatePlan, DateState, dates_of, dates_to_run, parallelism
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState
from tasks.runs.queries import open_ledger
from tasks.runs.receipts import receipt_of
from tasks.runs.request import job_for, requested_job
from tasks.stages.read import row_count_without_reading


@dataclass(frozen=True)
class BackfillPlan:
    """A backfill's request, and the state of every date of its range."""

    request: RunRequest
    date_range: DateRange
    job_name: str
    dates: tuple[DatePlan, ...]

    @property
    def days_to_run(self) -> list[date]:
        """The dates that need a run."""
        return dates_to_run(
            self.dates,
            only_missing=self.date_range.only_missing,
            redo=self.request.redo,
            retry=self.request.retry,
        )

    @property
    def parallelism(self) -> int:
        """How many dates may run at the same time."""
        return parallelism(self.dates, self.date_range.max_parallel)

    def run_key(self, day: date) -> str:
        """Key of the run for one date."""
        return _run_key(day, trial=self.request.is_trial)

    def run_title(self, day: date) -> str:
        """Title of the run for one date, which is the name of its flow run."""
        return f"{self.job_name} {self.run_key(day)}"

    def request_for(self, day: date) -> RunRequest:
        """The request for one date."""
        return replace(self.request, date=day)


def plan_backfill(request: RunRequest, date_range: DateRange, home: Home) -> BackfillPlan:
    """Plan every date of the range. ConfigError for a wrong job file; a missing source is recorded in its date's plan."""
    job = requested_job(request)
    plans = _plans(job, dates_of(date_range), home, trial=request.is_trial)
    return BackfillPlan(request, date_range, job.name, tuple(plans))


def refresh_plan(plan: BackfillPlan, days: Collection[date], home: Home) -> BackfillPlan:
    """The plan with the current state of these dates: other flow runs may have finished them."""
    if not days:
        return plan
    entries = _plans(requested_job(plan.request), days, home, trial=plan.request.is_trial)
    current_plans = {entry.day: entry for entry in entries}
    return replace(plan, dates=tuple(current_plans.get(entry.day, entry) for entry in plan.dates))


def plan_as_rows(plan: BackfillPlan) -> list[dict[str, Any]]:
    """The plan as a table, one row per date."""
    return [
        {
            "date": entry.day.isoformat(),
            "state": str(entry.state),
            "rows": entry.rows,
            "batches": entry.batches,
            "note": entry.problem,
        }
        for entry in plan.dates
    ]


def outcome_as_rows(plan: BackfillPlan, runs: Mapping[date, DateRun], home: Home) -> list[dict[str, Any]]:
    """The result of every date from the ledger, as a table; `failure` says why a date has no output."""
    ledger = open_ledger(home)
    rows = []
    for entry in plan.dates:
        run = runs.get(entry.day)
        failure = run.failure if run else entry.problem if entry.state is DateState.NO_SOURCE else ""
        row = {**_outcome(plan, entry.day, ledger), "failure": failure}
        rows.append({**row, "state": "failed"} if failure else row)
    return rows


def _plans(job: Job, days: Collection[date], home: Home, *, trial: bool) -> Iterator[DatePlan]:
    ledger = open_ledger(home)
    for day in days:
        job_of_day = job_for(job, day, day.isoformat(), trial=trial)
        yield _plan(job_of_day, day, _run_key(day, trial=trial), ledger)


def _run_key(day: date, *, trial: bool) -> str:
    return trial_key(day.isoformat()) if trial else day.isoformat()


def _plan(job: Job, day: date, key: str, ledger: Ledger | None) -> DatePlan:
    output = job.output.path
    run = ledger.latest_run(job.name, key) if ledger else None
    if run is None or ledger is None:
        try:
            return DatePlan(day, DateState.NOT_RUN, row_count_without_reading(job.source), output=output)
        except InputError as error:
            return DatePlan(day, DateState.NO_SOURCE, problem=str(error), output=output)
    done = run.state is RunState.FINISHED
    receipt = receipt_of(run)
    return DatePlan(
        day,
        DateState.DONE if done else DateState.UNFINISHED,
        rows=sum(chunk.rows for chunk in ledger.chunks(run.id)) or None,
        batches=sum(batch.batch_id is not None for batch in ledger.batches(run.id)),
        problem="" if done else f"is {run.state}",
        unanswered=receipt.rows.unanswered if receipt else 0,
        output=output,
    )


def _outcome(plan: BackfillPlan, day: date, ledger: Ledger | None) -> dict[str, Any]:
    run = ledger.latest_run(plan.job_name, plan.run_key(day)) if ledger else None
    receipt = receipt_of(run) if run else None
    state = str(DateState.NOT_RUN) if run is None else str(run.state)
    return {
        "date": day.isoformat(),
        "state": str(DateState.DONE) if run and run.state is RunState.FINISHED else state,
        "rows": receipt and receipt.rows.total,
        "unanswered": receipt and receipt.rows.unanswered,
        "cost": receipt and receipt.cost_usd,
        "output": receipt and receipt.output,
        "report": receipt and receipt.report,
    }
