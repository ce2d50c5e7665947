"""The durable sleep: in a deployment the process ends, and a worker continues the flow run at the wake time.

Prefect does not document this use of `Pause` (tried on 3.8.8; tests/tasks/orchestration/test_sleep.py is its contract test),
so it is confined to this file. The documented ways do not fit: a flow that returns `AwaitingRetry` ends Crashed, and
`suspend_flow_run` waits for somebody to resume it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Paused, Scheduled

from configs.clock import Clock

_ASK_AGAIN = timedelta(seconds=15)
"""How long to wait before a server that did not answer is asked again."""


PAUSED = "Paused for billing"
"""The state of a run whose account cannot pay."""


def sleep_until(wake: datetime, reason: str, clock: Clock, for_a_person: bool = False) -> None:
    """Sleep until `wake`; in a deployment, end this process and let a worker start the flow run again then.

    `reason` becomes the state's message. The flow run sets itself to Scheduled("Sleeping") and clears its process id:
    with the id of a dead process, a cancelled run would stay in Cancelling for ever. One that somebody has cancelled
    meanwhile ends as Cancelled instead. While the server is away the process stays, and returns at `wake` as if it had
    slept: a run does not fail because nobody shows it.

    What waits `for_a_person` is paused instead, so that Prefect's UI offers Resume; a sweep resumes it when its time is over.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        clock.sleep((wake - clock.now()).total_seconds())
        return
    states: list[State[Any]] = [Scheduled(name="Sleeping", scheduled_time=wake, message=reason)]
    if for_a_person:  # a flow run within another cannot be paused: it sleeps
        states.insert(0, Paused(name=PAUSED, message=reason, reschedule=True))
    while (left := wake - clock.now()) > timedelta(0):
        try:
            with get_client(sync_client=True) as client:
                state = _fall_asleep(client, context.flow_run.id, states)
        except httpx.HTTPError as error:
            get_run_logger().warning("the Prefect server does not answer: %s", type(error).__name__)
            clock.sleep(min(left, _ASK_AGAIN).total_seconds())
        else:
            raise Pause(state=state)


def end_if_overtaken() -> None:
    """End this process, and leave its flow run as it is, when the flow run has gone on without it; else return.

    For a process that stood still until others took it for dead: whatever it says of the flow run now is out of date.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    mine = context.flow_run.state
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        now = client.read_flow_run(context.flow_run.id).state
        if now is not None and now.is_cancelling():
            now = Cancelled(message="it was cancelled while it worked")
            set_without_process(client, context.flow_run.id, now)
        if now is not None and mine is not None and now.id != mine.id:
            raise Pause(state=now)


def set_without_process(client: SyncPrefectClient, flow_run: UUID, state: State[Any]) -> bool:
    """Set a flow run's state and clear its process id; without that, a worker looks for the process that the id names.

    False when the server refuses: one that is being cancelled becomes Cancelled and nothing else.
    """
    # Not client.update_flow_run: that drops an empty value.
    client.request("PATCH", "/flow_runs/{id}", path_params={"id": flow_run}, json={"infrastructure_pid": ""})
    # Not forced: the server itself refuses then what comes between a look at the state and its change.
    return client.set_flow_run_state(flow_run, state).status is SetStateStatus.ACCEPT


def _fall_asleep(client: SyncPrefectClient, flow_run: UUID, asleep: list[State[Any]]) -> State[Any]:
    """Set the flow run's state to the first of `asleep` that the server takes, or to Cancelled when it is being cancelled; the
    state that it has then.

    The worker that would have ended this process on the way may be dead.
    """
    now = client.read_flow_run(flow_run).state
    if now is None or not (now.is_cancelling() or now.is_cancelled()):
        for state in asleep:
            if set_without_process(client, flow_run, state):
                return state
        now = client.read_flow_run(flow_run).state
    if now is not None and now.is_cancelling():
        now = Cancelled(message="it was cancelled while it worked")
        set_without_process(client, flow_run, now)
    return now or asleep[-1]
