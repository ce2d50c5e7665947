"""The durable sleep: under a deployment nothing runs while the provider works.

This use of `Pause` is undocumented in Prefect; it is kept in this one file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Scheduled

from configs.clock import Clock


def sleep_until(wake: datetime, why: str, clock: Clock) -> None:
    """Return at `wake`; under a deployment, end this process and let a worker start the flow run again then.

    The flow run is set to Scheduled("Sleeping") by itself, and its process id is cleared, since cancelling
    a run that names a dead process would wait for it for ever.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        clock.sleep((wake - clock.now()).total_seconds())
        return
    flow_run = context.flow_run
    state: State[Any] = Scheduled(name="Sleeping", scheduled_time=wake, message=why)
    with get_client(sync_client=True) as client:
        set_without_process(client, flow_run.id, state)
    raise Pause(state=state)


def set_without_process(client: SyncPrefectClient, flow_run: UUID, state: State[Any]) -> None:
    """Put a flow run into a state in which no process works for it: a worker would look for the one it names."""
    client.set_flow_run_state(flow_run, state, force=True)
    # Not client.update_flow_run: that drops an empty value.
    client.request("PATCH", "/flow_runs/{id}", path_params={"id": flow_run}, json={"infrastructure_pid": ""})
