"""The durable sleep: in a deployment the process ends, and a worker continues the flow run at the wake time.

Prefect does not document this use of `Pause` (tried on 3.8.8; tests/tasks/orchestration/test_sleep.py is its contract test),
so it is confined to this file. The documented ways do not fit: a flow that returns `AwaitingRetry` ends Crashed, and
`suspend_flow_run` waits for somebody to resume it.
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


def sleep_until(wake: datetime, reason: str, clock: Clock) -> None:
    """Sleep until `wake`; in a deployment, end this process and let a worker start the flow run again then.

    `reason` becomes the state's message. The flow run sets itself to Scheduled("Sleeping") and clears its process id:
    with the id of a dead process, a cancelled run would stay in Cancelling for ever.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        clock.sleep((wake - clock.now()).total_seconds())
        return
    flow_run = context.flow_run
    state: State[Any] = Scheduled(name="Sleeping", scheduled_time=wake, message=reason)
    with get_client(sync_client=True) as client:
        set_without_process(client, flow_run.id, state)
    raise Pause(state=state)


def set_without_process(client: SyncPrefectClient, flow_run: UUID, state: State[Any]) -> None:
    """Set a flow run's state and clear its process id; without that, a worker looks for the process that the id names."""
    client.set_flow_run_state(flow_run, state, force=True)
    # Not client.update_flow_run: that drops an empty value.
    client.request("PATCH", "/flow_runs/{id}", path_params={"id": flow_run}, json={"infrastructure_pid": ""})
