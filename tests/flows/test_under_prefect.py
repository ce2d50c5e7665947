"""What Nightmail relies on in Prefect, on a real server with a real worker. An upgrade that breaks it fails here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a fresh server."""
    folder = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
    }
    with (folder / "server.log").open("wb") as log:
        command = [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=folder)
    yield environ
    server.terminate()
    server.wait(30)


@pytest.fixture
def client(prefect_server: dict[str, str]) -> Iterator[Any]:
    """A client of that server, once it answers."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: prefect_server["PREFECT_API_URL"]}),
        get_client(sync_client=True) as made,
    ):
        deadline = time.monotonic() + 90
        while made.api_healthcheck() is not None:
            assert time.monotonic() < deadline, "the Prefect server did not start"
            time.sleep(0.2)
        yield made


@pytest.fixture
def worker(prefect_server: dict[str, str], client: Any, works: Any) -> Iterator[None]:
    """A process worker on a pool of its own."""
    from prefect.client.schemas.actions import WorkPoolCreate

    client.create_work_pool(WorkPoolCreate(name="nightmail", type="process"))
    environ = {**prefect_server, **{name: os.environ[name] for name in ("NIGHTMAIL_HOME", "TEST_KEY")}}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "nightmail"]
    with (works.folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=works.folder)
    yield
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def test_a_deployed_run_sleeps_without_a_process_and_finishes_in_another(
    works: Any, client: Any, worker: None
) -> None:
    from flows.enrich import enrich

    works.faults("status:scheduling:1")
    works.change("poll", {"first_seconds": 3, "max_seconds": 3})
    deployment = client.create_deployment(
        flow_id=client.create_flow(enrich),
        name="ad-hoc",
        work_pool_name="nightmail",
        path=str(ROOT),
        entrypoint="flows/enrich.py:enrich",
    )
    made = client.create_flow_run_from_deployment(deployment, parameters={"job": works.write(), "key": "k"})
    seen: list[tuple[str, str | None]] = []
    processes: set[str] = set()
    deadline = time.monotonic() + 180
    while True:
        run = client.read_flow_run(made.id)
        if not seen or seen[-1][0] != run.state.name:
            seen.append((run.state.name, run.infrastructure_pid))
        if run.infrastructure_pid:
            processes.add(run.infrastructure_pid)
        if run.state.is_final():
            break
        assert time.monotonic() < deadline, f"{seen}; {(works.folder / 'worker.log').read_text()[-3000:]}"
        time.sleep(0.1)

    names = [name for name, _ in seen]
    log = (works.folder / "worker.log").read_text()
    assert names[-1] == "Completed", log[-3000:]
    assert run.name == "job k"
    assert "Sleeping" in names
    assert not any(pid for name, pid in seen if name == "Sleeping"), "a sleeping run must not name a process"
    assert len(processes) >= 2
    assert works.statuses() == {"succeeded": 10}
    assert works.paid() == {"1/1": 1}
    assert ("receipt-letters", "markdown") in {(a.key, a.type) for a in client.read_artifacts()}
    assert "sk-secret" not in log


def test_a_run_from_a_terminal_shows_in_the_server_that_is_set(
    works: Any, client: Any, prefect_server: dict[str, str]
) -> None:
    environ = {**prefect_server, **{name: os.environ[name] for name in ("NIGHTMAIL_HOME", "TEST_KEY")}}
    command = [sys.executable, "-m", "flows.cli", "run", works.write(), "--key", "from-terminal"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=works.folder, check=False)
    assert said.returncode == 0, said.stderr
    assert "10 succeeded" in said.stdout
    assert "job from-terminal" in {run.name for run in client.read_flow_runs()}
