"""Flows as a worker runs them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from rigs.checkout import ROOT
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import Artifact, FlowRun, State


class Deployed:
    """Flows as a worker runs them, each with the environment of the test's own working folder."""

    def __init__(self, client: SyncPrefectClient, workspace: Workspace, log: Path) -> None:
        self.client = client
        self.workspace = workspace
        self._log = log

    def deploy(self, flow: Flow[..., Any], name: str, **more: Any) -> UUID:
        """A deployment of flows/<the flow's file>, as from the root of the checkout; its id."""
        from prefect.utilities.callables import parameter_schema

        return self.client.create_deployment(
            flow_id=self.client.create_flow(flow),
            name=name,
            work_pool_name="nightmail",
            entrypoint=f"flows/{flow.name}.py:{flow.name}",
            **{
                "path": str(ROOT),
                "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
                **more,
            },
        )

    def start(self, deployment: UUID, state: State[Any] | None = None, **parameters: Any) -> UUID:
        """A flow run of it; its id."""
        flow_run = self.client.create_flow_run_from_deployment(
            deployment, parameters=parameters, state=state, job_variables={"env": self.environ}
        )
        return flow_run.id

    def on_schedule(self, flow: Flow[..., Any], name: str, due: datetime, **parameters: Any) -> UUID:
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
        window = {"start_time": due.isoformat(), "end_time": (due + timedelta(minutes=1)).isoformat()}
        self.client.request(
            "POST", "/deployments/{id}/schedule", path_params={"id": deployment}, json=window
        ).raise_for_status()
        mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        runs = self.client.read_flow_runs(deployment_filter=mine)
        return min(runs, key=lambda run: run.expected_start_time or due).id

    @property
    def environ(self) -> dict[str, str]:
        """What the flow's process needs of this test."""
        names = ("NIGHTMAIL_HOME", "NIGHTMAIL_LOG", "TEST_KEY", "PYTHONPATH")
        return {name: os.environ[name] for name in names if name in os.environ}

    def until(self, run: UUID, reached: Callable[[FlowRun], bool], seconds: float = 600) -> FlowRun:
        """The flow run, once it is so."""
        deadline = time.monotonic() + seconds
        while not reached(flow_run := self.client.read_flow_run(run)):
            assert time.monotonic() < deadline, f"{flow_run.state!r}; {self.log[-3000:]}"
            time.sleep(0.1)
        return flow_run

    def until_over(self, run: UUID, seconds: float = 600) -> FlowRun:
        """The flow run, once it has ended."""
        return self.until(run, lambda it: it.state is not None and it.state.is_final(), seconds)

    def until_state(self, run: UUID, name: str, seconds: float = 600) -> FlowRun:
        """The flow run, once its state is called so."""
        return self.until(run, lambda it: it.state is not None and it.state.name == name, seconds)

    def artifacts(self, run: UUID) -> dict[str | None, Artifact]:
        """The flow run's artifacts by key; one that is there twice is an error."""
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        of_the_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        artifacts = self.client.read_artifacts(artifact_filter=of_the_run)
        keys = [artifact.key for artifact in artifacts]
        assert len(keys) == len(set(keys)), keys
        return {artifact.key: artifact for artifact in artifacts}

    @property
    def json_lines(self) -> list[dict[str, Any]]:
        """Those of its log's lines that are JSON objects, whole."""
        whole = [line for line in self.log.splitlines(keepends=True) if line.endswith("}\n")]
        return [json.loads(line) for line in whole if line.startswith("{")]

    @property
    def log(self) -> str:
        """What the worker and its processes have said."""
        return self._log.read_text()


@pytest.fixture
def deployed(prefect_client: SyncPrefectClient, prefect_worker: Path, workspace: Workspace) -> Deployed:
    """Deployments that a worker runs in this test's working folder."""
    return Deployed(prefect_client, workspace, prefect_worker)
