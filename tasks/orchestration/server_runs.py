"""Other flow runs, as a sweep sees and moves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled

from configs.errors import ConfigError
from tasks.orchestration.sleep import set_without_process

_CANCEL = "cancel/cancel"
_TAKEN_UP = FlowRunFilter(
    tags=FlowRunFilterTags(all_=["nightmail"]),
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])),
)


@dataclass(frozen=True)
class Seen:
    """A flow run's state: its type, what it is called, since when; and whether a worker can take it up."""

    kind: str
    name: str
    since: datetime
    deployed: bool


class FlowRuns(Protocol):
    """What a sweep needs of the server."""

    def never_begun(self, before: datetime) -> Mapping[str, str]:
        """Ours that a worker took up before then and no process has begun or waked since: names by flow run."""

    def see(self, origin: str) -> Seen | None:
        """The flow run's state; None when there is no such flow run."""

    def wake(self, origin: str) -> None:
        """Let a worker take it up now."""

    def end(self, origin: str) -> None:
        """Say that its cancellation is complete."""

    def stop_paying(self, origin: str, now: datetime) -> None:
        """Let a `cancel` run do what it does for a cancelled run, at most once an hour."""


class NoServer:
    """Knows of no flow run."""

    def never_begun(self, before: datetime) -> Mapping[str, str]:  # noqa: ARG002
        return {}

    def see(self, origin: str) -> Seen | None:  # noqa: ARG002
        return None

    def wake(self, origin: str) -> None: ...
    def end(self, origin: str) -> None: ...
    def stop_paying(self, origin: str, now: datetime) -> None: ...


class OnServer:
    """The flow runs of a Prefect server."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def never_begun(self, before: datetime) -> Mapping[str, str]:
        found = self._client.read_flow_runs(flow_run_filter=_TAKEN_UP)
        return {str(run.id): run.name for run in found if run.state and run.state.timestamp < before}

    def see(self, origin: str) -> Seen | None:
        try:
            run = self._client.read_flow_run(UUID(origin))
        except ObjectNotFound:
            return None
        state = run.state
        if state is None:
            return None
        name = state.name or state.type.value
        return Seen(state.type.value, name, state.timestamp.astimezone(UTC), run.deployment_id is not None)

    def wake(self, origin: str) -> None:
        self._set(origin, AwaitingRetry(message="its process is gone; it goes on from where it was"))

    def end(self, origin: str) -> None:
        self._set(origin, Cancelled(message="its process is gone; its batches are cancelled"))

    def stop_paying(self, origin: str, now: datetime) -> None:
        try:
            deployment = self._client.read_deployment_by_name(_CANCEL)
        except ObjectNotFound as error:
            raise ConfigError(f"{_CANCEL}: is not deployed; run `nightmail deploy`") from error
        self._client.create_flow_run_from_deployment(
            deployment.id,
            parameters={"run": origin},
            idempotency_key=f"sweep {origin} {now:%Y-%m-%d %H}",
        )

    def _set(self, origin: str, state: State[Any]) -> None:
        set_without_process(self._client, UUID(origin), state)
