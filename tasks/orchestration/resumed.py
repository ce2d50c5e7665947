"""Whether a person has resumed the current flow run in the Prefect UI: the one start of a process that says what a person wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx

from tasks.orchestration.current_run import FlowRunInfo

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

_RESUMING: Final = "Resuming"
"""The state that Prefect's server gives a paused flow run when it is asked to resume it, and for nothing else (tried on 3.8.8)."""


def resumed_from(flow_run: FlowRunInfo) -> str | None:
    """The name of the paused state that Resume has ended, when this process is the first since then; None after any other
    start, as by a sweep, after a sleep or a crash, and when the server does not say."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            states = client.read_flow_run_states(UUID(flow_run.id))
    except httpx.HTTPError:
        return None
    # The timestamps are the server's, whoever has asked for the state.
    return ended_by_resume(sorted(states, key=lambda state: state.timestamp))


def ended_by_resume(states: Sequence[State[Any]]) -> str | None:
    """The same of all states of a flow run up to now, oldest first."""
    from prefect.client.schemas.objects import StateType

    pauses = [place for place, state in enumerate(states) if state.type is StateType.PAUSED]
    if not pauses:
        return None
    since = states[pauses[-1] + 1 :]
    if not since or (since[0].type, since[0].name) != (StateType.SCHEDULED, _RESUMING):
        return None
    starts = sum(state.type is StateType.RUNNING for state in since)
    return states[pauses[-1]].name if starts <= 1 else None
