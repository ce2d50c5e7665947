"""How a flow run appears in the Prefect UI: its name, the state of a skipped run, one-line failure messages."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from configs.clock import SystemClock
from configs.errors import NightmailError
from configs.job import Job
from configs.json_log import log_as_asked
from configs.load import logical_date
from configs.places import is_url
from configs.request import job_path
from configs.trials import trial_key
from tasks.orchestration.blocks import load_home
from tasks.orchestration.current_run import FlowRunInfo, current_flow_run, delay_past_limit
from tasks.orchestration.failures import failed_by
from tasks.runs.request import ResolvedRun
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import outcome_text
from tasks.storage.job_files import load_job_file

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

P = ParamSpec("P")
R = TypeVar("R")


def enrich_run_name() -> str:
    """Name of an `enrich` flow run: job and key, e.g. `ticket-triage 2026-11-21`."""
    from prefect.runtime import flow_run

    parameters = flow_run.parameters
    # A job file that cannot be read is reported by the flow itself; making its name must not fail before that.
    try:
        job = _job_of(parameters["job"])
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
        return _job_of(file).name
    except NightmailError:
        return Path(file).stem


def _job_of(file: str) -> Job:
    path = job_path(file)
    if is_url(path):
        load_home(os.environ)  # its credentials: this is asked for before the flow itself begins
    return load_job_file(path)


def skip_if_late(resolved: ResolvedRun, flow_run_info: FlowRunInfo | None) -> State[Any] | None:
    """The final state of a scheduled run that starts too late (see `run.start_within`); None for all others."""
    delay = delay_past_limit(flow_run_info, resolved.job, resolved.now)
    if delay is None:
        return None
    from prefect.logging import get_run_logger
    from prefect.states import Completed

    message = (
        f"{resolved.job.name} {resolved.key} is {delay.total_seconds() / 3600:.1f} hours late (run.start_within is"
        f" {resolved.job.run.start_within}) and was skipped; to make up for it, run `backfill` with start and end"
        f" {resolved.logical_date}"
    )
    get_run_logger().warning(message)
    # A completed state, not a failed one: nothing is wrong, and the alert about failed runs must not fire.
    return Completed(name="Skipped", message=message)


def finished(receipt: Receipt) -> Any:
    """What the flow returns: the receipt, and in a flow run a state whose message is its line. Whoever called the flow gets
    the receipt."""
    if current_flow_run() is None:
        return receipt
    from prefect.states import Completed

    return Completed(message=outcome_text(receipt), data=receipt)


def one_line_failures(function: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """Decorate a flow: an expected error ends it as Failed, and the error's one line is the last of its log.

    Whoever called the flow gets the error itself.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            log_as_asked(os.environ)
            return function(*args, **kwargs)
        except NightmailError as error:
            if current_flow_run() is None:
                raise
            from prefect.logging import get_run_logger

            get_run_logger().error(str(error))
            return failed_by(error)

    return call
