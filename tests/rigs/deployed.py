"""Faults that pass quickly, and flows as a worker runs them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fast_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second, not seconds, after a transient error."""
    import datetime

    from tasks import advance

    monkeypatch.setattr(advance, "fault_delay", lambda *_: datetime.timedelta(seconds=0.02))


class Deployed:
    """Flows as a worker runs them, each with the environment of the test's own working folder."""

    def __init__(self, client: Any, works: Any, log: Path) -> None:
        self.client = client
        self.works = works
        self._log = log

    def deploy(self, flow: Any, name: str, **more: Any) -> Any:
        """A deployment of flows/<the flow's file>, as from the root of the checkout; its id."""
        from prefect.utilities.callables import parameter_schema

        return self.client.create_deployment(
            flow_id=self.client.create_flow(flow),
            name=name,
            work_pool_name="nightmail",
            path=str(ROOT),
            entrypoint=f"flows/{flow.name}.py:{flow.name}",
            **{"parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(), **more},
        )

    def start(self, deployment: Any, state: Any = None, **parameters: Any) -> Any:
        """A flow run of it; its id."""
        made = self.client.create_flow_run_from_deployment(
            deployment, parameters=parameters, state=state, job_variables={"env": self.environ}
        )
        return made.id

    def on_schedule(self, flow: Any, name: str, due: datetime, **parameters: Any) -> Any:
        """A flow run that a schedule made for `due`, which may be long past; its id."""
        from prefect.client.schemas.actions import DeploymentScheduleCreate
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
        from prefect.client.schemas.schedules import IntervalSchedule

        nightly = IntervalSchedule(interval=timedelta(days=30), anchor_date=due)
        deployment = self.deploy(
            flow,
            name,
            enforce_parameter_schema=False,
            parameters=parameters,
            job_variables={"env": self.environ},
            schedules=[DeploymentScheduleCreate(schedule=nightly)],
        )
        asked = {"start_time": due.isoformat(), "end_time": (due + timedelta(minutes=1)).isoformat()}
        self.client.request(
            "POST", "/deployments/{id}/schedule", path_params={"id": deployment}, json=asked
        ).raise_for_status()
        mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        runs = self.client.read_flow_runs(deployment_filter=mine)
        return min(runs, key=lambda run: run.expected_start_time).id

    @property
    def environ(self) -> dict[str, str]:
        """What the flow's process needs of this test."""
        return {name: os.environ[name] for name in ("NIGHTMAIL_HOME", "TEST_KEY")}

    def until(self, run: Any, there: Callable[[Any], bool], seconds: float = 180) -> Any:
        """The flow run, once it is so."""
        deadline = time.monotonic() + seconds
        while not there(found := self.client.read_flow_run(run)):
            assert time.monotonic() < deadline, f"{found.state!r}; {self.log[-3000:]}"
            time.sleep(0.1)
        return found

    def until_over(self, run: Any, seconds: float = 180) -> Any:
        """The flow run, once it has ended."""
        return self.until(run, lambda found: found.state.is_final(), seconds)

    def until_state(self, run: Any, name: str, seconds: float = 180) -> Any:
        """The flow run, once its state is called so."""
        return self.until(run, lambda found: found.state.name == name, seconds)

    def artifacts(self, run: Any) -> dict[str, Any]:
        """The flow run's artifacts by key; one that is there twice is an error."""
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        found = self.client.read_artifacts(artifact_filter=wanted)
        keys = [artifact.key for artifact in found]
        assert len(keys) == len(set(keys)), keys
        return {artifact.key: artifact for artifact in found}

    @property
    def log(self) -> str:
        """What the worker and its processes have said."""
        return self._log.read_text()


@pytest.fixture(scope="module")
def prefect_worker(prefect_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A process worker for the module; the path of its log."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:
        deadline = time.monotonic() + 240
        while client.api_healthcheck() is not None:
            assert time.monotonic() < deadline, "the Prefect server did not start"
            time.sleep(0.2)
        client.create_work_pool(WorkPoolCreate(name="nightmail", type="process"))
    folder = tmp_path_factory.mktemp("worker")
    process = prefect_server.worker(folder)
    yield folder / "worker.log"
    process.kill()  # told to go, it may wait longer than a test should
    process.wait()


@pytest.fixture
def deployed(prefect_client: Any, prefect_worker: Path, works: Any) -> Deployed:
    """Deployments that a worker runs in this test's working folder."""
    return Deployed(prefect_client, works, prefect_worker)
