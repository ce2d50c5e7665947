"""A Prefect server set up as `nightmail deploy` does it, with workers that a test starts and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import yaml

from configs.clock import SystemClock
from rigs.checkout import ROOT
from rigs.prefect_server import PrefectServer
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from tasks.maintenance.sweep import SweepResult

RULES = {"nightmail: a silent run is looked at": "silence", "nightmail: missing sweeps are told": "missing"}


@pytest.fixture
def rules(tmp_path: Path) -> Callable[..., Path]:
    """The files of deployments/, with other seconds to wait before one of RULES acts, and a deployment `nightly` like `ad-hoc`
    with these lines."""

    def make(nightly: dict[str, Any] | None = None, **seconds: float) -> Path:
        tree = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
        for entry in tree["deployments"]:
            entry["enforce_parameter_schema"] = False  # a test's job file is in none of the form's lists
        if nightly:
            ad_hoc = next(entry for entry in tree["deployments"] if entry["name"] == "ad-hoc")
            tree["deployments"].append({**ad_hoc, "name": "nightly", **nightly})
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

    def deploy(self, webhook: str = "", nightly: dict[str, Any] | None = None, **seconds: float) -> None:
        """Set up as `nightmail deploy` does, with times of the test's own."""
        from flows.deploy.server import deploy

        environ = {**self.server.environ, **({"NIGHTMAIL_WEBHOOK_URL": webhook} if webhook else {})}
        list(deploy(self.rules(nightly, **seconds), environ, dry_run=False))

    def sweeps(self) -> list[FlowRun]:
        """The flow runs of the deployment `sweep` that were started, by the schedule or an automation."""
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName

        found = self.client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["sweep"])))
        return [run for run in found if run.state and not run.state.is_scheduled()]

    def sweep_later(self, minutes: float) -> SweepResult:
        """A sweep by the clock of somebody who comes so much later."""
        from tasks.maintenance.sweep import sweep_up
        from tasks.orchestration.server_runs import OnServer

        class Later(SystemClock):
            def now(self) -> datetime:
                return super().now() + timedelta(minutes=minutes)

        return sweep_up(self.workspace.home, os.environ, Later(), OnServer(self.client))

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
            if self.seen[-1:] != [name := state_name(found)]:
                self.seen.append(name)
            if wanted(found):
                return found
            assert time.monotonic() < deadline, f"{self.seen}; {self.log()[-3000:]}"
            time.sleep(0.3)  # looking costs the server a good deal

    def caught_at_work(self, run: UUID) -> int:
        """A process that works on the run, held: one that is only seen may be falling asleep."""
        while True:
            engine = engine_of(self.until(run, is_working))
            with suppress(ProcessLookupError):
                os.kill(engine, signal.SIGSTOP)
                if is_working(self.client.read_flow_run(run)):
                    return engine
                os.kill(engine, signal.SIGCONT)

    def wait_for_server(self) -> None:
        deadline = time.monotonic() + 600
        while self.client.api_healthcheck() is not None:
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.2)

    def scheduled_for(self, deployment: UUID, due: datetime) -> UUID:
        """The flow run that the server's scheduler has made for then."""
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

        mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        deadline = time.monotonic() + 600
        while True:
            for run in self.client.read_flow_runs(deployment_filter=mine):
                if run.expected_start_time and abs((due - run.expected_start_time).total_seconds()) < 2:
                    return run.id
            assert time.monotonic() < deadline, "it was not scheduled"
            time.sleep(1)

    def history(self, run: UUID) -> list[str]:
        """Every state that the server remembers."""
        return [state.name or state.type.value for state in self.client.read_flow_run_states(run)]

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


def state_name(run: FlowRun) -> str:
    """What its state is called."""
    assert run.state is not None
    return run.state.name or run.state.type.value


def is_working(run: FlowRun) -> bool:
    return state_name(run) == "Running" and bool(run.infrastructure_pid)


def engine_of(run: FlowRun) -> int:
    """The process that works on the run: `host:pid`, or the pid alone."""
    assert run.infrastructure_pid
    return int(run.infrastructure_pid.rpartition(":")[2])
