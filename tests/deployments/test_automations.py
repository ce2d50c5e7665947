"""What happens by itself on a real server: deployments and automations as `nightmail deploy` makes them, a real worker.

Runs are killed while they work; the batch service says what was paid.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import yaml

from rigs.prefect_server import PrefectServer
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

ROOT = Path(__file__).resolve().parents[2]
RULES = {"nightmail: a crashed run goes on": "resume", "nightmail: a silent run has crashed": "silence"}
pytestmark = pytest.mark.slow


@pytest.fixture
def rules(tmp_path: Path) -> Callable[..., Path]:
    """The files of deployments/, with other seconds to wait before one of RULES acts."""

    def make(**seconds: float) -> Path:
        tree = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
        for entry in tree["deployments"]:
            entry["enforce_parameter_schema"] = False  # a test's job file is in none of the form's lists
        found = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())
        for rule in found["automations"]:
            rule["trigger"]["within"] = seconds.get(RULES.get(rule["name"], ""), rule["trigger"]["within"])
        (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(tree))
        (tmp_path / "automations.yaml").write_text(yaml.safe_dump(found))
        return tmp_path

    return make


class Site:
    """A deployed server, and the workers that a test starts and kills."""

    def __init__(
        self,
        server: PrefectServer,
        client: SyncPrefectClient,
        workspace: Workspace,
        rules: Callable[..., Path],
    ) -> None:
        self.server, self.client, self.workspace, self.rules = server, client, workspace, rules
        self.workers: list[subprocess.Popen[bytes]] = []
        self.seen: list[str] = []

    def deploy(self, **seconds: float) -> None:
        """Set up as `nightmail deploy` does, with times of the test's own."""
        from flows.deploy.server import deploy

        list(deploy(self.rules(**seconds), self.server.environ, dry_run=False))

    def start_worker(self) -> subprocess.Popen[bytes]:
        self.workers.append(self.server.worker(self.workspace.folder))
        return self.workers[-1]

    def start_run(self, key: str = "k") -> UUID:
        """An ad-hoc run of the job, as the form in the UI starts one; its id."""
        deployment = self.client.read_deployment_by_name("enrich/ad-hoc")
        given = {"job": self.workspace.write(), "key": key}
        return self.client.create_flow_run_from_deployment(deployment.id, parameters=given).id

    def until(self, run: UUID, wanted: Callable[[FlowRun], bool], seconds: float = 300) -> FlowRun:
        """The flow run once it is as wanted; keeps the states it was seen in."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.client.read_flow_run(run)
            if not self.seen or self.seen[-1] != found.state.name:
                self.seen.append(found.state.name)
            if wanted(found):
                return found
            assert time.monotonic() < deadline, f"{self.seen}; {self.log()[-3000:]}"
            time.sleep(0.3)  # looking costs the server a good deal

    def history(self, run: UUID) -> list[str]:
        """Every state that the server remembers."""
        return [state.name for state in self.client.read_flow_run_states(run)]

    def log(self) -> str:
        return (self.workspace.folder / "worker.log").read_text()


@pytest.fixture
def site(
    prefect_server: PrefectServer,
    prefect_client: SyncPrefectClient,
    workspace: Workspace,
    rules: Callable[..., Path],
) -> Iterator[Site]:
    made = Site(prefect_server, prefect_client, workspace, rules)
    yield made
    for worker in made.workers:
        worker.kill()
        worker.wait()


def is_working(run: FlowRun) -> bool:
    return bool(run.state.name == "Running" and run.infrastructure_pid)


def engine_of(run: FlowRun) -> int:
    """The process that works on the run: `host:pid`, or the pid alone."""
    return int(run.infrastructure_pid.rpartition(":")[2])


def test_a_run_whose_process_is_killed_goes_on_and_pays_nothing_twice(site: Site) -> None:
    site.deploy(resume=15)
    site.workspace.change("poll", {"first_seconds": 2, "max_seconds": 2})
    site.workspace.faults("status:scheduling:1")
    site.start_worker()
    run = site.start_run()
    os.kill(engine_of(site.until(run, is_working)), signal.SIGKILL)

    site.until(run, lambda found: found.state.is_completed())

    names = site.history(run)
    assert names.index("Crashed") < names.index("AwaitingRetry") < names.index("Completed")
    assert site.workspace.statuses() == {"succeeded": 10}
    assert site.workspace.paid() == {"1/1": 1}


def test_a_run_that_lost_its_process_and_its_worker_is_found_dead_and_goes_on(site: Site) -> None:
    site.deploy(resume=15, silence=20)
    site.workspace.service.fault("create", "delay:100")  # it is at work until it is killed
    worker = site.start_worker()
    run = site.start_run()
    engine = engine_of(site.until(run, is_working))
    site.until(run, lambda _: heart_has_beaten(site, run))
    worker.kill()
    os.kill(engine, signal.SIGKILL)

    site.workspace.service.forgive()

    site.until(run, lambda found: found.state.is_crashed())
    site.deploy(resume=15)  # silence is as long again as it should be
    site.start_worker()
    site.until(run, lambda found: found.state.is_completed())

    names = site.history(run)
    assert names.index("Crashed") < names.index("AwaitingRetry") < names.index("Completed")
    assert site.workspace.statuses() == {"succeeded": 10}
    assert sum(site.workspace.paid().values()) == 1


def heart_has_beaten(site: Site, run: UUID) -> bool:
    beats = {
        "filter": {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
        }
    }
    return bool(site.client.request("POST", "/events/filter", json=beats).json()["events"])
