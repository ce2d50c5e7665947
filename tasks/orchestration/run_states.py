"""How a flow run appears in the Prefect UI: its name, the state of a skipped run, one-line failure messages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed

from configs.clock import SystemClock
from configs.errors import NightmailError
from configs.load import load_job, logical_date
from configs.request import job_path
from configs.trials import trial_key
from tasks.orchestration.current_run import FlowRunInfo, current_flow_run, delay_past_limit
from tasks.orchestration.failures import failed_by
from tasks.runs.request import ResolvedRun

P = ParamSpec("P")
R = TypeVar("R")


def enrich_run_name() -> str:
    """Name of an `enrich` flow run: job and key, e.g. `ticket-triage 2026-11-21`."""
    parameters = flow_run.parameters
    # A job file that cannot be read is reported by the flow itself; making its name must not fail before that.
    try:
        job = load_job(job_path(parameters["job"]))
    except NightmailError:
        return (
            f"{job_name(parameters['job'])} {parameters.get('key') or parameters.get('date') or ''}".strip()
        )
    flow_run_info = current_flow_run()
    expected_start = (flow_run_info.expected_start if flow_run_info else None) or SystemClock().now()
    key = str(parameters.get("key") or logical_date(job, parameters.get("date"), expected_start))
    return f"{job.name} {trial_key(key) if parameters.get('limit') else key}"


def job_name(file: str) -> str:
    """The job's name; the file name without its ending when the file cannot be read."""
    try:
        return load_job(job_path(file)).name
    except NightmailError:
        return Path(file).stem


def skip_if_late(resolved: ResolvedRun, flow_run_info: FlowRunInfo | None) -> State[Any] | None:
    """The final state of a scheduled run that starts too late (see `run.start_within`); None for all others."""
    delay = delay_past_limit(flow_run_info, resolved.job, resolved.now)
    if delay is None:
        return None
    message = (
        f"{resolved.job.name} {resolved.key} is {delay.total_seconds() / 3600:.1f} hours late (run.start_within is"
        f" {resolved.job.run.start_within}) and was skipped; to make up for it, run `backfill` with start and end"
        f" {resolved.logical_date}"
    )
    get_run_logger().warning(message)
    # A completed state, not a failed one: nothing is wrong, and the alert about failed runs must not fire.
    return Completed(name="Skipped", message=message)


def one_line_failures(function: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """Decorate a flow: an expected error ends it as Failed, and the error's one line is the last of its log.

    Whoever called the flow gets the error itself.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            return function(*args, **kwargs)
        except NightmailError as error:
            if current_flow_run() is None:
                raise
            get_run_logger().error(str(error))
            return failed_by(error)

    return call
