"""The Prefect flow run that this process works for, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect.context import FlowRunContext

from configs.frozen import seconds
from configs.job import Job


@dataclass(frozen=True)
class FlowRunFacts:
    """`due` is when it was to start first, `began` when it did (None: just now); waking up changes neither."""

    id: str
    deployed: bool  # a worker started this process and starts the next one
    on_schedule: bool
    due: datetime | None
    began: datetime | None


def current_flow_run() -> FlowRunFacts | None:
    """The flow run around this call; None when there is no Prefect."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    run: Any = context.flow_run
    deployed = run.deployment_id is not None
    return FlowRunFacts(
        id=str(run.id),
        deployed=deployed,
        on_schedule=run.auto_scheduled,
        due=run.expected_start_time if deployed else None,
        began=run.start_time,
    )


def missed_by(facts: FlowRunFacts | None, job: Job, now: datetime) -> timedelta | None:
    """How late a scheduled run begins, if that is later than the job's `run.start_within` allows.

    Runs started by a person are never late, nor are runs that began in time and have slept since.
    """
    limit = job.run.start_within
    if facts is None or not facts.on_schedule or facts.due is None or limit is None:
        return None
    late = (facts.began or now) - facts.due
    return late if late > timedelta(seconds=seconds(limit)) else None
