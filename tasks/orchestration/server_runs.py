"""Other flow runs on a Prefect server. What is asked is always what the server's tables say now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled

from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.deployed_runs import CANCEL, create_from_deployment
from tasks.orchestration.durable_sleep import set_without_process
from tasks.orchestration.events import post_event
from tasks.orchestration.other_runs import PROCESS_GONE, Seen

_OURS = FlowRunFilterTags(all_=["nightmail"])
_AT_WORK = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_HEARTBEAT = "prefect.flow-run.heartbeat"
_PAGE = 200
_REMEMBERED = timedelta(days=1)
"""A flow run that crashed before that, and of which the ledger does not know, is nobody's any more."""


class OnServer:
    """The flow runs of a Prefect server."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._flows: dict[UUID, str] = {}

    def unsettled(self, now: datetime, late_since: datetime) -> Iterator[Seen]:
        here = current_flow_run()
        wanted = (
            FlowRunFilter(tags=_OURS, state=_in_state(*_AT_WORK, StateType.PAUSED)),
            FlowRunFilter(
                tags=_OURS,
                state=_in_state(StateType.CRASHED),
                end_time=FlowRunFilterEndTime(after_=now - _REMEMBERED),
            ),
            FlowRunFilter(
                tags=_OURS,
                state=_in_state(StateType.SCHEDULED),
                next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=late_since),
            ),
        )
        # All are read before the first is moved: a page after that would leave some out.
        runs = [run for each in wanted for run in self._read(each)]
        for run in runs:
            if here is None or str(run.id) != here.id:
                yield from self._seen(run)

    def see(self, origin: str) -> Seen | None:
        try:
            run = self._client.read_flow_run(UUID(origin))
        except ObjectNotFound:
            return None
        return next(self._seen(run), None)

    def wake(self, seen: Seen, why: str = PROCESS_GONE) -> bool:
        return self._set(seen, AwaitingRetry(message=why))

    def end(self, seen: Seen) -> bool:
        return self._set(seen, Cancelled(message="its process is gone, and nobody wants it to go on"))

    def stop_paying(self, origin: str, now: datetime) -> None:
        once_an_hour = f"sweep {origin} {now:%Y-%m-%d %H}"
        title, parameters = f"cancel {origin}", {"run": origin}
        create_from_deployment(self._client, CANCEL, title, parameters, idempotency_key=once_an_hour)

    def tell(self, problem: str, seen: Seen, message: str) -> None:
        post_event(
            self._client,
            f"nightmail.run.{problem}",
            resource=f"nightmail.flow-run.{seen.id}",
            title=seen.title,
            payload={"message": message},
            related=f"prefect.flow-run.{seen.id}",
            once=f"{seen.id} {seen.since.isoformat()}",
        )

    def completed(self, now: datetime) -> None:
        post_event(
            self._client,
            "nightmail.sweep.completed",
            resource="nightmail.sweep",
            title="sweep",
            payload={"at": now.isoformat()},
        )

    def _read(self, wanted: FlowRunFilter) -> Iterator[FlowRun]:
        offset = 0
        while page := self._client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=offset):
            yield from page
            offset += len(page)

    def _seen(self, run: FlowRun) -> Iterator[Seen]:
        state = run.state
        if state is None:
            return
        since = state.timestamp.astimezone(UTC)
        due = run.next_scheduled_start_time or state.state_details.scheduled_time
        yield Seen(
            id=str(run.id),
            flow=self._flow(run.flow_id),
            title=run.name,
            kind=state.type.value,
            name=state.name or state.type.value,
            since=since,
            deployed=run.deployment_id is not None,
            due=due.astimezone(UTC) if due else None,
            heard=self._heard(run.id, since) if state.type in _AT_WORK else None,
            crashed=self._crashed(run.id) if state.type is StateType.CRASHED else (),
        )

    def _flow(self, flow: UUID) -> str:
        if flow not in self._flows:
            self._flows[flow] = self._client.read_flow(flow).name
        return self._flows[flow]

    def _heard(self, run: UUID, since: datetime) -> datetime | None:
        """The last heartbeat since then."""
        beats = {
            "event": {"name": [_HEARTBEAT]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
            "occurred": {"since": since.isoformat()},
            "order": "DESC",
        }
        response = self._client.request("POST", "/events/filter", json={"filter": beats, "limit": 1})
        newest = next(iter(response.json()["events"]), None)
        return datetime.fromisoformat(newest["occurred"]).astimezone(UTC) if newest else None

    def _crashed(self, run: UUID) -> tuple[datetime, ...]:
        """Every time it crashed; what a worker reports twice is one crash."""
        states = sorted(self._client.read_flow_run_states(run), key=lambda state: state.timestamp)
        before = [None, *(state.type for state in states)]
        return tuple(
            state.timestamp.astimezone(UTC)
            for state, previous in zip(states, before, strict=False)
            if state.type is StateType.CRASHED and previous is not StateType.CRASHED
        )

    def _set(self, seen: Seen, state: State[Any]) -> bool:
        # It may have been cancelled, or gone on by itself, since it was read.
        now = self._client.read_flow_run(UUID(seen.id)).state
        if now is None or now.timestamp.astimezone(UTC) != seen.since:
            return False
        return set_without_process(self._client, UUID(seen.id), state)


def _in_state(*kinds: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=[*kinds]))
