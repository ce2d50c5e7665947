"""What Nightmail relies on in Prefect, on a real server with a real worker. An upgrade that breaks it fails here."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def worker(prefect_server: Any, prefect_client: Any, works: Any) -> Iterator[None]:
    """A process worker on a pool of its own."""
    from prefect.client.schemas.actions import WorkPoolCreate

    prefect_client.create_work_pool(WorkPoolCreate(name="nightmail", type="process"))
    process = prefect_server.worker(works.folder)
    yield
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def test_a_deployed_run_sleeps_without_a_process_and_finishes_in_another(
    works: Any, prefect_client: Any, worker: None
) -> None:
    from flows.enrich import enrich

    works.faults("status:scheduling:1")
    works.change("poll", {"first_seconds": 3, "max_seconds": 3})
    deployment = prefect_client.create_deployment(
        flow_id=prefect_client.create_flow(enrich),
        name="ad-hoc",
        work_pool_name="nightmail",
        path=str(ROOT),
        entrypoint="flows/enrich.py:enrich",
    )
    made = prefect_client.create_flow_run_from_deployment(
        deployment, parameters={"job": works.write(), "key": "k"}
    )
    seen: list[tuple[str, str | None]] = []
    processes: set[str] = set()
    deadline = time.monotonic() + 180
    while True:
        run = prefect_client.read_flow_run(made.id)
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
    assert run.name == "letters k"
    assert "Sleeping" in names
    assert not any(pid for name, pid in seen if name == "Sleeping"), "a sleeping run must not name a process"
    assert len(processes) >= 2
    assert works.statuses() == {"succeeded": 10}
    assert works.paid() == {"1/1": 1}
    assert ("receipt-letters", "markdown") in {(a.key, a.type) for a in prefect_client.read_artifacts()}
    assert "sk-secret" not in log


def test_a_run_from_a_terminal_shows_in_the_server_that_is_set(
    works: Any, prefect_client: Any, prefect_server: Any
) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", works.write(), "--key", "from-terminal"]
    said = subprocess.run(
        command, env=prefect_server.environ, capture_output=True, text=True, cwd=works.folder, check=False
    )
    assert said.returncode == 0, said.stderr
    assert "10 succeeded" in said.stdout
    assert "letters from-terminal" in {run.name for run in prefect_client.read_flow_runs()}


def test_a_step_that_fails_for_now_says_so_in_one_line_and_the_run_goes_on(
    works: Any, prefect_client: Any, prefect_server: Any
) -> None:
    works.service.fault("retrieve", "status:500", times=4)
    command = [sys.executable, "-m", "flows.cli", "run", works.write(), "--key", "k"]
    said = subprocess.run(
        command, env=prefect_server.environ, capture_output=True, text=True, cwd=works.folder, check=False
    )
    works.service.forgive()
    assert said.returncode == 0, said.stderr
    assert "Traceback" not in said.stderr
    failed = [task for task in prefect_client.read_task_runs() if task.state.is_failed()]
    assert [task.name for task in failed] == ["poll chunk 1"]
    assert failed[0].state.message
    assert "\n" not in failed[0].state.message
    assert "Error(" not in failed[0].state.message
