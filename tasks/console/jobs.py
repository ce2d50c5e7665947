"""The pages *Jobs* and *Job*: the job files, the plan of a run, and its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from configs.errors import NightmailError
from configs.job import Job
from configs.request import RunRequest
from tasks.console.context import Console, console_of, needs_actions
from tasks.console.forms import read_date, read_row_count
from tasks.console.outcomes import Outcome
from tasks.console.render import page
from tasks.console.standing import standing_of
from tasks.runs.request import resolve_request
from tasks.stages.report.estimate_text import answers_text, cost_lines
from tasks.stages.report.plan import Plan
from tasks.stages.report.plan_text import duplicates_text, reuse_text
from tasks.storage.job_files import load_job_file

_JOBS = 1000
_ONE_PLANS = Lock()  # a plan reads the whole dataset: two at once would take all of a small machine


@dataclass(frozen=True)
class JobLine:
    """A job file: its job, or why it cannot be loaded."""

    file: str
    job: Job | None
    problem: str | None = None


def jobs_page(request: Request) -> Response:
    """The job files."""
    console = console_of(request)
    listing = console.ledger.listing if console.ledger else None
    newest = listing.lines_of(listing.newest_runs_by_job(_JOBS)) if listing else ()
    standings = {line.run.id: standing_of(line.run, line, console.clock.now()) for line in newest}
    lines = [_line(file, path) for file, path in console.jobs.items()]
    return page(
        request, "jobs", lines=lines, newest={line.run.job: line.run for line in newest}, standings=standings
    )


def _line(file: str, path: str) -> JobLine:
    try:
        return JobLine(file, load_job_file(RunRequest(path).job_path))
    except NightmailError as error:
        return JobLine(file, None, str(error))


def job_page(request: Request) -> Response:
    """One job file and, once it is asked for, the plan of a run of it."""
    console = console_of(request)
    file = request.path_params["file"]
    line, given = _line(file, console.job_path(file)), request.query_params
    plan, latest, planned, problem = None, None, None, None
    if "plan" in given:
        try:
            planned = _request(console, file, given)
            plan = _plan(console, planned)
            latest = console.ledger.latest_run(plan.job, plan.key) if console.ledger else None
        except (NightmailError, OSError) as error:
            problem = str(error)
    return page(
        request,
        "job",
        line=line,
        given=given,
        planned=planned,
        plan=plan,
        facts=_facts(plan) if plan else (),
        latest=latest,
        problem=problem,
    )


def _plan(console: Console, request: RunRequest) -> Plan:
    with _ONE_PLANS:
        return console.plan(request)


def _request(console: Console, file: str, given: Mapping[str, Any]) -> RunRequest:
    """The request for a run of the file, with the date that it has now: the plan and the start are of the same run."""
    request = RunRequest(
        console.job_path(file),
        date=read_date("date", str(given.get("date", ""))),
        key=str(given.get("key", "")).strip(),
        limit=read_row_count("limit", str(given.get("limit", ""))),
    )
    if request.date is not None:
        return request
    return replace(request, date=resolve_request(request, console.home, console.clock).logical_date)


def _facts(plan: Plan) -> list[tuple[str, str]]:
    """What the plan says, by name."""
    estimate = plan.estimate
    costs = [line.split(maxsplit=1) for line in cost_lines(estimate)]
    facts = [
        ("Source", plan.source),
        ("Output", plan.output),
        ("Model", f"{plan.model} at {plan.provider}, {plan.endpoint}"),
        ("Rows", f"{plan.rows:,} in {plan.chunks:,} chunks; {plan.skipped:,} skipped"),
        ("Requests", f"{plan.requests:,} in {plan.batches:,} batches, {plan.bytes:,} bytes"),
        ("Prompt tokens", f"about {estimate.prompt_tokens:,} ({estimate.method})"),
        ("Answers", answers_text(estimate)),
        *((name.capitalize(), text) for name, text in costs),
        ("Reuse", reuse_text(plan)),
        ("Repeated rows", duplicates_text(plan)),
        *((f"Skipped: {reason}", f"{count:,}") for reason, count in plan.skips.items()),
        *(("Note", note) for note in plan.notes),
    ]
    return [(name, text) for name, text in facts if text]


def start(request: Request, form: FormData) -> Outcome:
    """Start the run whose plan was shown."""
    console = console_of(request)
    actions = needs_actions(console)
    file = request.path_params["file"]
    done = actions.run(_request(console, file, form))
    return Outcome(f"Start: {file}", done, back="/runs")
