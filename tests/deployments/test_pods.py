"""A pool of pods without a cluster: the template on a real server, and what a pod runs, told to go as Kubernetes does."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import yaml

from rigs.checkout import ROOT
from rigs.prefect_server import PrefectServer
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

FOLDER = ROOT / "deployments"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "work-pool-kubernetes.json").read_text())
    return found


def test_a_pod_gets_the_settings_of_pool_and_deployment(
    template: dict[str, Any], prefect_client: SyncPrefectClient
) -> None:
    from prefect.workers.base import BaseJobConfiguration

    class Pod(BaseJobConfiguration):
        job_manifest: dict[str, Any]

    (deployment,) = (
        entry
        for entry in yaml.safe_load((FOLDER / "prefect.yaml").read_text())["deployments"]
        if entry["name"] == "ad-hoc"
    )
    made = asyncio.run(
        Pod.from_template_and_values(template, {**deployment["work_pool"]["job_variables"], "secret": "keys"})
    )
    pod = made.job_manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] == 60
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert made.env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert made.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "60"
    assert container["resources"]["limits"] == {"memory": "2Gi"}


@pytest.mark.soak
def test_a_pod_that_is_told_to_go_hands_its_run_back(
    template: dict[str, Any],
    prefect_server: PrefectServer,
    prefect_client: SyncPrefectClient,
    workspace: Workspace,
) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.states import Pending

    from flows.deploy.server import deploy

    prefect_client.create_work_pool(
        WorkPoolCreate(name="nightmail", type="kubernetes", base_job_template=template)
    )
    tree = yaml.safe_load((FOLDER / "prefect.yaml").read_text())
    for entry in tree["deployments"]:
        entry["enforce_parameter_schema"] = False  # a test's job file is in none of the form's lists
    (workspace.folder / "prefect.yaml").write_text(yaml.safe_dump(tree))
    (workspace.folder / "automations.yaml").write_text("automations: []")
    said = list(deploy(workspace.folder, prefect_server.environ, dry_run=False))
    assert said[0] == "unchanged work pool nightmail (kubernetes)"

    deployment = prefect_client.read_deployment_by_name("enrich/ad-hoc")
    run = prefect_client.create_flow_run_from_deployment(
        deployment.id, parameters={"job": workspace.write(), "key": "k"}
    )
    prefect_client.set_flow_run_state(run.id, Pending())  # as the worker does before it makes the pod
    properties = template["variables"]["properties"]
    environ = {**prefect_server.environ, **properties["env"]["default"], "PREFECT__FLOW_RUN_ID": str(run.id)}
    environ["NIGHTMAIL_HOME"] = prefect_server.environ["NIGHTMAIL_HOME"]

    def pod() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "flow-run", "execute"], env=environ, cwd=ROOT
        )

    workspace.service.fault("upload", "delay:100")  # it is at work when it is told to go
    first = pod()
    until(prefect_client, run.id, {"Running"})
    first.send_signal(signal.SIGTERM)
    assert first.wait(properties["grace_seconds"]["default"]) == 0
    assert prefect_client.read_flow_run(run.id).state.name == "AwaitingRetry"
    workspace.service.forgive()

    while prefect_client.read_flow_run(run.id).state.is_scheduled():
        prefect_client.set_flow_run_state(run.id, Pending())
        assert pod().wait(180) == 0
    assert prefect_client.read_flow_run(run.id).state.is_completed()
    assert workspace.statuses() == {"succeeded": 10}
    assert workspace.paid() == {"1/1": 1}


def until(client: SyncPrefectClient, run: UUID, names: set[str]) -> None:
    deadline = time.monotonic() + 300
    while client.read_flow_run(run).state.name not in names:
        assert time.monotonic() < deadline
        time.sleep(0.05)
