"""The runs of a backfill as flow runs of `enrich` on a Prefect server, which its workers carry out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.utilities.urls import url_for

from configs.clock import Clock
from configs.errors import ConfigError
from configs.request import RunRequest
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.sleep import sleep_until

DEPLOYMENT = "enrich/ad-hoc"
_PAGE = 200
_ALIVE = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]


@dataclass(frozen=True)
class ChildRun:
    """The flow run that enriches a date: `over` when it has ended, `failure` why it ended without an output."""

    id: str
    over: bool
    failure: str = ""
    made_at: datetime | None = None

    @property
    def link(self) -> str:
        """Where the run is shown; empty when the server has no known address for browsers."""
        return url_for("flow-run", obj_id=UUID(self.id)) or ""


class ChildRuns:
    """Found again by a tag, and made with an idempotency key: a backfill that is resumed makes none twice."""

    def __init__(self, client: SyncPrefectClient, parent: str, job_name: str, clock: Clock) -> None:
        self._client = client
        self._job_name = job_name
        self._clock = clock
        self._tag = f"backfill-{parent}"

    def started(self) -> Mapping[date, ChildRun]:
        """This backfill's runs by date."""
        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[self._tag]))
        return {date.fromisoformat(run.parameters["date"]): _child_run(run) for run in self._runs(tagged)}

    def elsewhere(self, days: Collection[date]) -> Collection[date]:
        """The dates that another flow run is working on, or will."""
        titles = {self._title(day): day for day in days}
        if not titles:
            return ()
        alive = FlowRunFilter(
            name=FlowRunFilterName(any_=list(titles)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ALIVE)),
        )
        found = self._runs(alive, FlowFilter(name=FlowFilterName(any_=["enrich"])))
        return {titles[run.name] for run in found if self._tag not in run.tags}

    def start(self, request: RunRequest) -> ChildRun:
        """Let a worker enrich a date. ConfigError when the deployment is not there or refuses the parameters."""
        assert request.date is not None
        title, day = self._title(request.date), request.date.isoformat()
        try:
            deployment = self._client.read_deployment_by_name(DEPLOYMENT)
            made = self._client.create_flow_run_from_deployment(
                deployment.id,
                name=title,
                parameters={**request.parameters, "date": day},
                tags=[self._tag],
                idempotency_key=f"{self._tag} {day}",
            )
        except ObjectNotFound as error:
            raise ConfigError(f"{DEPLOYMENT}: is not deployed; run `nightmail deploy`") from error
        except PrefectHTTPStatusError as error:
            if error.response.status_code < 500:
                detail = error.response.json().get("detail", error.response.text)
                raise ConfigError(f"{DEPLOYMENT} refuses {title}: {detail}") from error
            raise
        return _child_run(made)

    def wait(self, seconds: float, so_far: object) -> None:
        """Sleep that long, with `so_far` as the flow run's message."""
        sleep_until(self._clock.now() + timedelta(seconds=seconds), str(so_far), self._clock)

    def _title(self, day: date) -> str:
        """What the date's flow run is called."""
        return f"{self._job_name} {day}"

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
def child_runs_of_current_run(job_name: str, clock: Clock) -> Iterator[ChildRuns]:
    """Those of the flow run around this call; ConfigError when there is none."""
    here = current_flow_run()
    if here is None:
        raise ConfigError("backfill: needs a Prefect server here; `nightmail backfill` does without one")
    with get_client(sync_client=True) as client:
        yield ChildRuns(client, here.id, job_name, clock)


def _child_run(run: FlowRun) -> ChildRun:
    state = run.state
    over = state is not None and state.is_final()
    name = state.name if state and state.name else "Scheduled"
    failure = "" if not over or (state and state.is_completed()) else (state and state.message) or name
    made_at = run.created.astimezone(UTC) if run.created else None
    return ChildRun(str(run.id), over, " ".join(str(failure).split()), made_at)
