"""Read what the current Prefect flow run is: its id, its deployment, when it should have started and did."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from configs.frozen import seconds
from configs.job import Job

if TYPE_CHECKING:
    from prefect.context import FlowRunContext


@dataclass(frozen=True)
class FlowRunInfo:
    """The current flow run. `expected_start` is its first scheduled time, `started_at` its first start (None: it starts now).

    Waking from a sleep changes neither: Prefect keeps `expected_start_time` and `start_time` of the first start.
    """

    id: str
    deployed: bool  # a worker started this process and starts the next one
    scheduled: bool
    expected_start: datetime | None
    started_at: datetime | None


def flow_run_context() -> FlowRunContext | None:
    """Prefect's context of the flow run that this call runs in; None outside one, for which Prefect is not imported."""
    if "prefect.context" not in sys.modules:  # whoever runs a flow has imported it
        return None
    from prefect.context import FlowRunContext

    return FlowRunContext.get()


def is_in_task() -> bool:
    """Whether this call runs in a task of Prefect."""
    if "prefect.context" not in sys.modules:
        return False
    from prefect.context import TaskRunContext

    return TaskRunContext.get() is not None


def current_flow_run() -> FlowRunInfo | None:
    """The flow run that this call runs in; None outside Prefect."""
    context = flow_run_context()
    if context is None or context.flow_run is None:
        return None
    run: Any = context.flow_run
    deployed = run.deployment_id is not None
    return FlowRunInfo(
        id=str(run.id),
        deployed=deployed,
        scheduled=run.auto_scheduled,
        expected_start=run.expected_start_time if deployed else None,
        started_at=run.start_time,
    )


def delay_past_limit(info: FlowRunInfo | None, job: Job, now: datetime) -> timedelta | None:
    """How late a scheduled run starts, if that is later than the job's `run.start_within` allows; else None.

    Runs started by a person are never late, nor are runs that started in time and have slept since.
    """
    limit = job.run.start_within
    if info is None or not info.scheduled or info.expected_start is None or limit is None:
        return None
    delay = (info.started_at or now) - info.expected_start
    return delay if delay > timedelta(seconds=seconds(limit)) else None
