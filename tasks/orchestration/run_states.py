"""How a flow run begins and ends in the UI: its name, being skipped, and failing in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from configs.clock import SystemClock
from configs.errors import NightmailError
from configs.load import load_job, logical_date
from configs.request import job_path
from tasks.orchestration.current_run import FlowRunFacts, current_flow_run, missed_by
from tasks.runs.request import ResolvedRun

P = ParamSpec("P")
R = TypeVar("R")


def title() -> str:
    """`ticket-triage 2026-11-21`: what an `enrich` run is called."""
    given = flow_run.parameters
    try:
        job = load_job(job_path(given["job"]))
    except NightmailError:
        return f"{job_name(given['job'])} {given.get('key') or given.get('date') or ''}".strip()
    here = current_flow_run()
    due = (here.due if here else None) or SystemClock().now()
    return f"{job.name} {given.get('key') or logical_date(job, given.get('date'), due)}"


def job_name(file: str) -> str:
    """The job's name, or the file's when it cannot be read."""
    try:
        return load_job(job_path(file)).name
    except NightmailError:
        return Path(file).stem


def missed(resolved: ResolvedRun, here: FlowRunFacts | None) -> State[Any] | None:
    """The end of a scheduled run whose time is past; None for all others."""
    late = missed_by(here, resolved.job, resolved.now)
    if late is None:
        return None
    message = (
        f"{resolved.job.name} {resolved.key} is {late.total_seconds() / 3600:.1f} hours late (run.start_within is"
        f" {resolved.job.run.start_within}) and was skipped; to make up for it, run `backfill` with start and end"
        f" {resolved.logical_date}"
    )
    get_run_logger().warning(message)
    return Completed(name="Skipped", message=message)


def one_line_failures(function: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """Under a deployment, let an expected error end the flow run as Failed with its one line as the message."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            return function(*args, **kwargs)
        except NightmailError as error:
            here = current_flow_run()
            if here is None or not here.deployed:
                raise
            get_run_logger().error(str(error))
            return Failed(message=str(error))

    return call
