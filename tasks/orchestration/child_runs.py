"""The `enrich` runs of a backfill, as the Prefect server has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.utilities.urls import url_for

from configs.errors import ConfigError
from tasks.orchestration.current_run import current_flow_run

DEPLOYMENT = "enrich/ad-hoc"
_PAGE = 200
_ALIVE = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]


@dataclass(frozen=True)
class Child:
    """The flow run that enriches a date: `over` when it has ended, `failure` why it ended without an output."""

    id: str
    state: str
    over: bool
    failure: str = ""
    made_at: datetime | None = None


class Children:
    """Found again by a tag, and made with an idempotency key: a backfill that is resumed makes none twice."""

    def __init__(self, client: SyncPrefectClient, parent: str) -> None:
        self._client = client
        self._parent = parent
        self._tag = f"backfill-{parent}"

    def mine(self) -> dict[date, Child]:
        """This backfill's runs by date."""
        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[self._tag]))
        return {date.fromisoformat(run.parameters["date"]): _child(run) for run in self._runs(tagged)}

    def others(self, titles: Mapping[str, date]) -> set[date]:
        """The dates (by the name of their run) that another flow run is working on, or will."""
        alive = FlowRunFilter(
            name=FlowRunFilterName(any_=list(titles)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ALIVE)),
        )
        found = self._runs(alive, FlowFilter(name=FlowFilterName(any_=["enrich"])))
        return {titles[run.name] for run in found if self._tag not in run.tags}

    def begin(self, title: str, parameters: Mapping[str, Any]) -> Child:
        """Let a worker enrich a date. ConfigError when the deployment is not there or refuses the parameters."""
        try:
            deployment = self._client.read_deployment_by_name(DEPLOYMENT)
            made = self._client.create_flow_run_from_deployment(
                deployment.id,
                name=title,
                parameters=dict(parameters),
                tags=[self._tag],
                idempotency_key=f"{self._tag} {parameters['date']}",
            )
        except ObjectNotFound as error:
            raise ConfigError(f"{DEPLOYMENT}: is not deployed; run `nightmail deploy`") from error
        except PrefectHTTPStatusError as error:
            if error.response.status_code < 500:
                said = error.response.json().get("detail", error.response.text)
                raise ConfigError(f"{DEPLOYMENT} refuses {title}: {said}") from error
            raise
        return _child(made)

    def _runs(self, wanted: FlowRunFilter, flow: FlowFilter | None = None) -> Iterator[FlowRun]:
        offset = 0
        while page := self._client.read_flow_runs(
            flow_run_filter=wanted, flow_filter=flow, limit=_PAGE, offset=offset
        ):
            yield from page
            offset += len(page)
            if len(page) < _PAGE:
                return


@contextmanager
def children_of_current_run() -> Iterator[Children]:
    """Those of the flow run around this call; ConfigError when there is none."""
    here = current_flow_run()
    if here is None:
        raise ConfigError("backfill: needs a Prefect server here; `nightmail backfill` does without one")
    with get_client(sync_client=True) as client:
        yield Children(client, here.id)


def link(child: Child) -> str:
    """Where the run is shown; empty when the server has no known address for browsers."""
    return url_for("flow-run", obj_id=UUID(child.id)) or ""


def _child(run: FlowRun) -> Child:
    state = run.state
    over = state is not None and state.is_final()
    name = state.name if state and state.name else "Scheduled"
    failure = "" if not over or (state and state.is_completed()) else (state and state.message) or name
    made_at = run.created.astimezone(UTC) if run.created else None
    return Child(str(run.id), name, over, " ".join(str(failure).split()), made_at)
