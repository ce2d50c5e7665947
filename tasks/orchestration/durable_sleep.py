"""The durable sleep: in a deployment the process ends, and a worker continues the flow run at the wake time.

Prefect does not document this use of `Pause` (tried on 3.8.8; tests/tasks/orchestration/test_sleep.py is its contract test),
so it is confined to this file. The documented ways do not fit: a flow that returns `AwaitingRetry` ends Crashed, and
`suspend_flow_run` waits for somebody to resume it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Pause
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Paused, Scheduled

from configs.clock import Clock
from tasks.orchestration.current_run import flow_run_context
from tasks.orchestration.failures import told_already
from tasks.orchestration.other_runs import SLEEPING

_ASK_AGAIN = timedelta(seconds=15)
"""How long to wait before a server that did not answer is asked again."""


def fall_asleep(
    wake: datetime,
    reason: str,
    clock: Clock,
    paused: str | None,
    is_over: Callable[[], bool],
) -> None:
    """End the process of the current deployed flow run, see `sleep_until`.

    The flow run sets itself to Scheduled("Sleeping") and clears its process id: with the id of a dead process, a cancelled
    run would stay in Cancelling for ever. One that somebody has cancelled meanwhile ends as Cancelled instead. While the
    server is away the process stays, and returns at `wake` as if it had slept: a run does not fail because nobody shows it.

    Whoever wakes a sleeping flow run writes to the ledger first and looks for a sleeping one then. So this asks whether the
    sleep `is_over` once it is asleep: one of the two sees the other.
    """
    flow_run = _flow_run()
    states: list[State[Any]] = [Scheduled(name=SLEEPING, scheduled_time=wake, message=reason)]
    if paused is not None:  # a flow run within another cannot be paused: it sleeps
        states.insert(0, Paused(name=paused, message=reason, reschedule=True))
    while (left := wake - clock.now()) > timedelta(0):
        try:
            with get_client(sync_client=True) as client:
                state = _set_asleep(client, flow_run.id, states)
                if is_over() and _is_asleep(client, flow_run.id):
                    state = Scheduled(
                        name=SLEEPING, scheduled_time=clock.now(), message="it is to look again"
                    )
                    set_without_process(client, flow_run.id, state)
        except httpx.HTTPError as error:
            get_run_logger().warning("the Prefect server does not answer: %s", type(error).__name__)
            clock.sleep(min(left, _ASK_AGAIN).total_seconds())
        else:
            if state.message:
                told_already(state)
                get_run_logger().info("%s: %s", state.name, state.message)
            raise Pause(state=state)


def end_without_a_word() -> None:
    """End the process of the current flow run if that has come into another state without it, see `end_if_overtaken`."""
    flow_run = _flow_run()
    mine = flow_run.state
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        now = client.read_flow_run(flow_run.id).state
        if now is not None and now.is_cancelling():
            now = Cancelled(message="it was cancelled while it worked")
            set_without_process(client, flow_run.id, now)
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


def _set_asleep(client: SyncPrefectClient, flow_run: UUID, asleep: list[State[Any]]) -> State[Any]:
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


def _is_asleep(client: SyncPrefectClient, flow_run: UUID) -> bool:
    now = client.read_flow_run(flow_run).state
    return now is not None and now.name == SLEEPING


def _flow_run() -> Any:
    context = flow_run_context()
    assert context is not None
    return context.flow_run
