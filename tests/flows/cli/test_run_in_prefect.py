"""`nightmail run` in the Prefect server that is set."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from rigs.prefect_server import PrefectServer, StartPrefectServer, latest_run, steps_of
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: StartPrefectServer) -> PrefectServer:
    """A server whose database is a file in its folder."""
    return prefect_server_with(on_sqlite=True)


def test_a_run_from_a_terminal_shows_in_the_server_that_is_set(
    workspace: Workspace, prefect_client: SyncPrefectClient, prefect_server: PrefectServer
) -> None:
    command = [sys.executable, "-m", "flows.cli.main", "run", workspace.write(), "--key", "from-terminal"]
    said = subprocess.run(
        command, env=prefect_server.environ, capture_output=True, text=True, cwd=workspace.folder, check=False
    )
    assert said.returncode == 0, said.stderr
    assert "10 succeeded" in said.stdout
    assert "letters from-terminal" in {run.name for run in prefect_client.read_flow_runs()}


def test_a_backfill_from_a_terminal_runs_its_dates_at_the_same_time_in_the_server_that_is_set(
    workspace: Workspace, prefect_client: SyncPrefectClient, prefect_server: PrefectServer
) -> None:
    workspace.change("output.path", "out/{date}")
    # Long enough that the second has begun, however slow its start is, before the first is over.
    workspace.change("poll", {"first_seconds": 8, "max_seconds": 8})
    command = [sys.executable, "-m", "flows.cli.main", "backfill", workspace.write()]
    command += ["--start", "2026-11-01", "--end", "2026-11-03", "--json"]
    said = subprocess.run(
        command, env=prefect_server.environ, capture_output=True, text=True, cwd=workspace.folder, check=False
    )
    assert said.returncode == 0, said.stderr
    assert [row["state"] for row in json.loads(said.stdout)] == ["done"] * 3
    runs = [run for run in prefect_client.read_flow_runs() if run.name.startswith("letters 2026-11-0")]
    assert [run.state.name for run in runs] == ["Completed"] * 3
    spans = sorted((run.start_time, run.end_time) for run in runs)
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans)), "no two ran at once"


def test_a_step_that_fails_for_now_says_so_in_one_line_and_the_run_goes_on(
    workspace: Workspace, prefect_client: SyncPrefectClient, prefect_server: PrefectServer
) -> None:
    workspace.service.fault("retrieve", "status:500", times=2)
    command = [sys.executable, "-m", "flows.cli.main", "run", workspace.write(), "--key", "k"]
    said = subprocess.run(
        command, env=prefect_server.environ, capture_output=True, text=True, cwd=workspace.folder, check=False
    )
    workspace.service.forgive()
    assert said.returncode == 0, said.stderr
    assert "Traceback" not in said.stderr
    steps = steps_of(prefect_client, latest_run(prefect_client).id)
    assert not [step.name for step in steps if step.state.is_failed()]
    postponed = [step for step in steps if step.state.name == "Postponed"]
    assert [step.name for step in postponed] == ["poll chunk 1"] * 2
    assert "HTTP 500" in postponed[0].state.message
    assert "\n" not in postponed[0].state.message
    assert "Error(" not in postponed[0].state.message
