"""Start and follow the runs of a backfill as `enrich` flow runs on a Prefect server, which its workers execute."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
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
from prefect.utilities.urls import url_for

from configs.clock import Clock
from configs.errors import ConfigError
from configs.request import RunRequest
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.deployed_runs import ENRICH, create_from_deployment
from tasks.orchestration.sleep import sleep_until

_PAGE_SIZE = 200
_NOT_FINAL = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


@dataclass(frozen=True)
class ChildRun:
    """The flow run for one date. `ended` is whether it has; `failure` is why it ended without an output, if it did."""

    id: str
    ended: bool
    failure: str = ""
    created_at: datetime | None = None

    @property
    def link(self) -> str:
        """URL of the flow run in the Prefect UI; empty when the UI's address is not known."""
        return url_for("flow-run", obj_id=UUID(self.id)) or ""


class ChildRuns:
    """The child flow runs of one backfill.

    They carry a tag of the backfill and are created with an idempotency key: a backfill that resumes after a sleep or a
    crash finds its child runs by the tag, and creates none twice.
    """

    def __init__(
        self, client: SyncPrefectClient, parent: str, title: Callable[[date], str], clock: Clock
    ) -> None:
        self._client = client
        self._title = title  # a date's flow run is named as a scheduled one is: see `enrich_run_name`
        self._clock = clock
        self._tag = f"backfill-{parent}"

    def started(self) -> Mapping[date, ChildRun]:
        """This backfill's flow runs so far, by date."""
        of_this_backfill = FlowRunFilter(tags=FlowRunFilterTags(all_=[self._tag]))
        return {
            date.fromisoformat(run.parameters["date"]): _child_run(run)
            for run in self._runs(of_this_backfill)
        }

    def running_elsewhere(self, days: Collection[date]) -> Collection[date]:
        """Those of `days` that a flow run outside this backfill is working on or is scheduled for."""
        titles = {self._title(day): day for day in days}
        if not titles:
            return ()
        unfinished = FlowRunFilter(
            name=FlowRunFilterName(any_=list(titles)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_NOT_FINAL)),
        )
        runs_by_name = self._runs(unfinished, FlowFilter(name=FlowFilterName(any_=["enrich"])))
        return {titles[run.name] for run in runs_by_name if self._tag not in run.tags}

    def start(self, request: RunRequest) -> ChildRun:
        """Create the flow run for the request's date. ConfigError when the deployment is missing or refuses the parameters."""
        assert request.date is not None
        title, day = self._title(request.date), request.date.isoformat()
        new_run = create_from_deployment(
            self._client,
            ENRICH,
            title,
            {**request.parameters, "date": day},
            tags=[self._tag],
            idempotency_key=f"{self._tag} {day}",
        )
        return _child_run(new_run)

    def wait(self, seconds: float, progress: object) -> None:
        """Sleep that long; `progress` becomes the state message of the backfill's flow run."""
        sleep_until(self._clock.now() + timedelta(seconds=seconds), str(progress), self._clock)

    def _runs(self, run_filter: FlowRunFilter, for_flow: FlowFilter | None = None) -> Iterator[FlowRun]:
        offset = 0  # the API returns at most 200 flow runs at a time
        while page := self._client.read_flow_runs(
            flow_run_filter=run_filter, flow_filter=for_flow, limit=_PAGE_SIZE, offset=offset
        ):
            yield from page
            offset += len(page)
            if len(page) < _PAGE_SIZE:
                return


@contextmanager
def child_runs_of_current_run(title: Callable[[date], str], clock: Clock) -> Iterator[ChildRuns]:
    """The child runs of the current flow run, each named by its date; ConfigError outside a flow run."""
    flow_run_info = current_flow_run()
    if flow_run_info is None:
        raise ConfigError("backfill: the flow needs a Prefect server; without one, use `nightmail backfill`")
    with get_client(sync_client=True) as client:
        yield ChildRuns(client, flow_run_info.id, title, clock)


def _child_run(run: FlowRun) -> ChildRun:
    state = run.state
    ended = state is not None and state.is_final()
    name = state.name if state and state.name else "Scheduled"
    failure = "" if not ended or (state and state.is_completed()) else (state and state.message) or name
    created_at = run.created.astimezone(UTC) if run.created else None
    return ChildRun(str(run.id), ended, " ".join(str(failure).split()), created_at)
