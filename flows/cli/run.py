"""The commands for a single run: run, plan, render, cancel."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from configs.clock import SystemClock
from configs.errors import ConfigError
from configs.request import RunRequest
from flows.cli import terminal
from flows.cli.app import (
    ALL_ANSWERED,
    ROWS_UNANSWERED,
    AsJson,
    app,
    flow_runs,
    home,
    options_of,
    prefect_server,
    set_interrupts,
)

if TYPE_CHECKING:
    from tasks.stages.report.plan import Plan
    from tasks.stages.report.receipt import Receipt

# What is done with an earlier run of the same key: plan and render post nothing anyway.
_OPTIONS_OF_RUN_ONLY = ("redo", "retry", "snapshot", "dry_run")
_ECHO_NOTICE = "\nThese answers are echoes of the embedded service."
_ECHO_HINT = """ For real ones:

    export OPENAI_API_KEY=sk-...
    nightmail plan JOB --provider openai      what it would post, and the price of the prompts
    nightmail run JOB --provider openai

For your own rows, copy the job file and change source, prompt and output; `nightmail schema` lists every key."""


@app.command
@options_of(RunRequest)
def run(request: RunRequest, *, as_json: AsJson = False) -> int:
    """Run a job, or resume it: the same job and key is the same run, resumed where it stopped."""
    from tasks.orchestration.reporters import reporting_to

    started_at = SystemClock().now()
    run_enrich = enrich_here()
    result: Receipt | Plan
    try:
        with terminal.progress_bar() as reporter, reporting_to(reporter):
            result = run_enrich(request)
    except KeyboardInterrupt:
        set_interrupts()
        finished = _finished_since(started_at, request)
        if finished is None:
            raise
        result = finished
    set_interrupts()
    return _show(result, request, started_at, as_json=as_json)


def enrich_here() -> Callable[[RunRequest], Any]:
    """How this process runs a job: as a flow run where a Prefect server is configured, else without Prefect, by plain calls."""
    from tasks.enrich import enrich_rows

    if not prefect_server():
        return enrich_rows
    from flows.enrich import enrich

    return lambda request: enrich(**request.parameters)


def _show(result: Receipt | Plan, request: RunRequest, started_at: datetime, *, as_json: bool) -> int:
    """Print a receipt or a plan, and what to do next; the exit code."""
    from configs.load import is_request_file
    from tasks.stages.report.plan import Plan
    from tasks.stages.report.plan_text import plan_as_text
    from tasks.stages.report.receipt_text import as_text, retry_line

    if as_json:
        terminal.show_json(result)
    elif isinstance(result, Plan):
        sys.stdout.write(plan_as_text(result) + "\n")
    else:
        if result.finished_at < started_at:
            terminal.say("This run was finished before; nothing was posted. --redo does it again.")
        sys.stdout.write(as_text(result) + "\n")
        if retry_text := retry_line(result):
            terminal.say(f"{retry_text}: run the same command with --retry.")
        if result.is_trial:
            all_rows = replace(request, redo=False, retry=False).command(limit=None)
            terminal.say(f"This was a trial, beside the job's output. For all rows: {all_rows}")
        if result.answered_by == "echo":
            terminal.say(_ECHO_NOTICE + ("" if is_request_file(request.job) else _ECHO_HINT))
    return ALL_ANSWERED if isinstance(result, Plan) or not result.rows.unanswered else ROWS_UNANSWERED


def _finished_since(started_at: datetime, request: RunRequest) -> Receipt | None:
    """The receipt of the run that this command has finished, as the ledger knows: an interrupt came after that."""
    from tasks.runs.queries import open_ledger
    from tasks.runs.receipts import receipt_of
    from tasks.runs.request import resolve_request

    ledger = open_ledger(home())
    if request.dry_run or ledger is None:
        return None
    resolved = resolve_request(request, home(), SystemClock(), expected_start=started_at)
    run = ledger.latest_run(resolved.job.name, resolved.key)
    if run is None or run.finished_at is None or run.finished_at < started_at:
        return None
    return receipt_of(run)


@app.command
@options_of(RunRequest, without=_OPTIONS_OF_RUN_ONLY)
def plan(
    request: RunRequest,
    *,
    sample: Annotated[
        int | None,
        Parameter(
            help="Also show this many of the first rows with their prompts.",
            validator=validators.Number(gte=1, lte=1000),
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show what a run would do: rows, batches, bytes, price of the prompts, the first prompt. Writes nothing."""
    if sample is not None:
        if as_json:
            raise ConfigError(
                "--sample and --json: give one of them; `nightmail render` writes the requests themselves"
            )
        from tasks.orchestration.blocks import load_home
        from tasks.runs.preview import preview
        from tasks.runs.request import resolve_request

        resolved = resolve_request(request, load_home(os.environ), SystemClock())
        terminal.show_preview(preview(resolved, sample))
    return run(**request.parameters, dry_run=True, as_json=as_json)


@app.command
@options_of(RunRequest, without=_OPTIONS_OF_RUN_ONLY)
def render(
    request: RunRequest,
    *,
    out: Annotated[Path, Parameter(help="Folder for the files; created if needed, must be empty.")],
) -> int:
    """Only write the JSONL request files, to submit them by other means."""
    from tasks.orchestration.blocks import load_home
    from tasks.prepare import render_files
    from tasks.runs.request import resolve_request

    resolved = resolve_request(request, load_home(os.environ), SystemClock())
    with terminal.progress_bar() as reporter:
        written = render_files(resolved, out, reporter)
    for path in written:
        sys.stdout.write(f"{path}\n")
    return ALL_ANSWERED


@app.command
def approve(run: Annotated[str, Parameter(help="Run id, or job/key.")]) -> int:
    """Let a run post that waits for a person because of its price (`budget.approve_above_usd`)."""
    sys.stdout.write(approve_here(run) + "\n")
    return ALL_ANSWERED


def approve_here(run: str) -> str:
    """Approve a run as whoever runs this process; what was done, in a line."""
    import getpass
    import socket

    from tasks.approve import approve_run
    from tasks.orchestration.blocks import load_home

    by, places, clock = f"{getpass.getuser()} on {socket.gethostname()}", load_home(os.environ), SystemClock()
    with flow_runs(on_server=prefect_server()) as others:
        return approve_run(places, clock, run, by, others)


@app.command
def cancel(run: Annotated[str, Parameter(help="Run id, or job/key.")]) -> int:
    """Cancel a run's open batches, so that they cost nothing more. `nightmail run` resumes it later."""
    from tasks.cancel import cancel_run
    from tasks.orchestration.blocks import load_home

    with terminal.progress_bar() as reporter:
        lines = cancel_run(load_home(os.environ), os.environ, SystemClock(), run, reporter)
    for line in lines:
        sys.stdout.write(line + "\n")
    return ALL_ANSWERED
