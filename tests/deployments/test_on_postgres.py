"""compose.yaml by hand: its commands with its variables, on PostgreSQL for Prefect's server and for the ledger."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml

from rigs.checkout import ROOT
from rigs.postgres import MakeDatabase

pytestmark = pytest.mark.soak


class Compose:
    """The services of compose.yaml as plain processes on this machine."""

    def __init__(self, folder: Path, prefect_database: str, ledger: str) -> None:
        self.folder, self.prefect_database, self.ledger = folder, prefect_database, ledger
        self.services = yaml.safe_load((ROOT / "deployments" / "compose.yaml").read_text())["services"]
        self.ports = {name: free_port() for name in ("4200", "8080")}
        self.running: list[subprocess.Popen[bytes]] = []

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['4200']}/api"

    def here(self, text: str) -> str:
        """Hosts, ports, paths and passwords of the containers as they are on this machine."""
        if "@postgres" in text:
            return self.prefect_database if text.startswith("postgresql+asyncpg:") else self.ledger
        for there, port in self.ports.items():
            text = text.replace(there, str(port))
        return text.replace("//prefect:", "//127.0.0.1:").replace("0.0.0.0", "127.0.0.1")

    def environ(self, service: str) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "NIGHTMAIL_"))}
        given = {k: self.here(v) for k, v in self.services[service]["environment"].items() if v}
        given.pop("PREFECT_SERVER_UI_API_URL", None)
        path = os.pathsep.join([str(Path(sys.executable).parent), own["PATH"]])
        return {
            **own,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "NIGHTMAIL_HOME": str(self.folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.ports["8080"]),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **given,
        }

    def command(self, service: str) -> list[str]:
        return [self.here(word) for word in self.services[service]["command"]]

    def start(self, service: str) -> None:
        with (self.folder / f"{service}.log").open("wb") as log:
            self.running.append(
                subprocess.Popen(
                    self.command(service), env=self.environ(service), cwd=self.folder, stdout=log, stderr=log
                )
            )

    def run(self, service: str) -> list[str]:
        done = subprocess.run(
            self.command(service),
            env=self.environ(service),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def wait_until_healthy(self, service: str, check: list[str]) -> None:
        """Run a health check, `check` or the service's own, until it is content."""
        deadline = time.monotonic() + 400
        while subprocess.run([self.here(w) for w in check], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self.folder / f"{service}.log").read_text()[-3000:]
            time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def compose(tmp_path: Path, postgres_url: MakeDatabase) -> Iterator[Compose]:
    prefect_database = postgres_url().replace("+psycopg", "+asyncpg")
    made = Compose(tmp_path, prefect_database, postgres_url())
    yield made
    for process in reversed(made.running):
        process.terminate()
    for process in made.running:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def test_the_quick_start_runs_on_server_worker_and_postgres(compose: Compose, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    compose.start("prefect")
    check = compose.services["prefect"]["healthcheck"]["test"]
    compose.wait_until_healthy("prefect", [sys.executable, *check[2:]])
    said = compose.run("deploy")
    assert "created deployment enrich/ad-hoc" in said
    assert {line.split()[0] for line in compose.run("deploy")} <= {"unchanged", "skipped"}
    compose.start("worker")
    (healthy,) = (
        line for line in (ROOT / "deployments" / "Dockerfile").read_text().splitlines() if "8080" in line
    )
    compose.wait_until_healthy(
        "worker", [sys.executable, *yaml.safe_load(healthy.strip().removeprefix("CMD "))[1:]]
    )

    with (
        temporary_settings({PREFECT_API_URL: compose.api}),
        get_client(sync_client=True) as client,
    ):
        given = {
            "job": "configs/jobs/quickstart.yaml",
            "limit": 200,
            "key": "on-postgres",
            "overrides": [f"output.path={tmp_path / 'out'}"],
        }
        deployment = client.read_deployment_by_name("enrich/ad-hoc")
        run = client.create_flow_run_from_deployment(deployment.id, parameters=given)
        deadline = time.monotonic() + 300
        while not (state := client.read_flow_run(run.id).state).is_final():
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-3000:]
            time.sleep(0.2)
        assert state.is_completed(), (tmp_path / "worker.log").read_text()[-3000:]

    assert set(pq.read_table(tmp_path / "out")["llm_status"].to_pylist()) == {"succeeded"}
    assert counted(compose.ledger, "SELECT count(*) FROM runs WHERE state = 'finished'") == 1
    assert (
        counted(compose.prefect_database, "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'") >= 1
    )


def counted(url: str, query: str) -> int:
    engine = sa.create_engine(url.replace("+asyncpg", "+psycopg"))
    with engine.connect() as connection:
        found: int = connection.execute(sa.text(query)).scalar_one()
    engine.dispose()
    return found
