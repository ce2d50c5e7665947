"""A service that repeats the key wherever it can: nothing that a run shows, keeps or publishes has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakes.contract import STAGES, Stage
from rigs.command_line import nightmail, until
from rigs.prefect_server import PrefectServer, StartPrefectServer, latest_run, logged
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: StartPrefectServer) -> PrefectServer:
    """A server whose database is a file in its folder."""
    return prefect_server_with(on_sqlite=True)


@pytest.fixture(params=[name for name in STAGES if name != "openai"])
def stage(
    request: pytest.FixtureRequest, stages: Callable[[str], Stage], at_once: Callable[[Stage], Stage]
) -> Iterator[Stage]:
    """A vendor that repeats the key in all it says."""
    made = at_once(stages(request.param))
    made.fake.echo = f"Bearer {made.key}"
    yield made
    made.fake.echo = ""


@pytest.fixture
def letters(workspace: Workspace, stage: Stage) -> Workspace:
    """A job that goes to that vendor."""
    workspace.tree["provider"] = stage.settings.model_dump(mode="json")
    workspace.change("retry.max_attempts", 1)
    return workspace


def holds(folder: Path, key: str) -> list[str]:
    """The files below a folder that hold the key."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_nothing_that_is_kept_or_published_has_the_key(
    letters: Workspace, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.script({"t-1": "failed", "t-2": "refused"})
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 8, "failed": 1, "refused": 1}
    assert nightmail("status", "letters/k") == 0
    said = capsys.readouterr()
    assert stage.key not in said.out + said.err + repr(receipt) + repr(letters.out.to_pylist())
    assert "****" in repr(letters.column("llm_answer")), "the service did repeat it"
    assert holds(letters.folder, stage.key) == []


@pytest.mark.parametrize(
    ("op", "action"),
    [
        ("create", "status:400"),
        ("retrieve", "status:401"),
        ("content", "status:400"),
        pytest.param("retrieve", "html", marks=pytest.mark.slow),
    ],
)
def test_no_failure_shows_or_keeps_the_key(
    letters: Workspace, stage: Stage, capsys: pytest.CaptureFixture[str], op: str, action: str
) -> None:
    stage.fault(op, "status:502" if action == "html" else action, html=action == "html")
    code = nightmail("run", letters.write(), "--key", "k", "--debug")
    nightmail("status", "letters/k")
    said = capsys.readouterr()
    assert stage.key not in said.out + said.err
    assert (code == 0) is (action == "html"), said.err
    assert holds(letters.folder, stage.key) == []


@pytest.mark.slow
@pytest.mark.parametrize(  # each of the SDKs, and each of the calls
    ("stage", "op"),
    [("alibaba", "create"), ("azure", "retrieve"), ("anthropic", "retrieve"), ("gemini", "create")],
    indirect=["stage"],
)
def test_prefects_database_and_logs_have_no_key(
    letters: Workspace,
    stage: Stage,
    prefect_client: SyncPrefectClient,
    prefect_server: PrefectServer,
    op: str,
) -> None:
    stage.fault(op, "status:400")
    command = [sys.executable, "-m", "flows.cli.main", "run", letters.write(), "--key", "k", "--debug"]
    said = subprocess.run(
        command, env=prefect_server.environ, capture_output=True, text=True, cwd=letters.folder, check=False
    )
    assert said.returncode == 2, said.stderr
    assert "[key]" in said.stderr
    assert stage.key not in said.stdout + said.stderr
    run = latest_run(prefect_client)
    assert "[key]" in run.state.message
    until(lambda: [text for _, text in logged(prefect_client, run.id) if "[key]" in text])
    assert holds(letters.folder, stage.key) == holds(prefect_server.folder, stage.key) == []
