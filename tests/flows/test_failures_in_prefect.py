"""An expected failure on a real server: its one line is all there is, on the terminal, in the flow run's log and state."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from flows.enrich import enrich
from rigs.checkout import ROOT
from rigs.command_line import nightmail, until
from rigs.deployed import Deployed
from rigs.prefect_server import PrefectServer, latest_run, logged
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = pytest.mark.slow


def no_source(workspace: Workspace) -> None:
    workspace.change("source.path", "gone.parquet")


def no_key(workspace: Workspace) -> None:
    workspace.change("provider.api_key_env", "NO_SUCH_KEY")


def wrong_key(workspace: Workspace) -> None:
    workspace.service.fault("upload", "status:401", times=1)


def held_by_another_process(workspace: Workspace) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("tasks.enrich.publish", interrupted)
        workspace.run()
    workspace.ledger.claim(workspace.run_id, "elsewhere/0/1/1", 600, lambda _: False)


@dataclass(frozen=True)
class Scenario:
    """What is wrong, what the line says, and what the command ends with."""

    wrong: Callable[[Workspace], None]
    line: str
    code: int = 2


SCENARIOS = {
    "a provider refuses, in a step": Scenario(wrong_key, "401"),
    "another runner, in the flow": Scenario(held_by_another_process, "is working on this run", 3),
    "no source, in a step": Scenario(no_source, "no such file"),
    "no key, in the flow": Scenario(no_key, "NO_SUCH_KEY"),
}


def environ(server: PrefectServer) -> dict[str, str]:
    return {**server.environ, "PYTHONWARNINGS": "default"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_at_a_terminal_with_a_server_the_line_is_all(
    workspace: Workspace, prefect_client: SyncPrefectClient, prefect_server: PrefectServer, name: str
) -> None:
    scenario = SCENARIOS[name]
    scenario.wrong(workspace)
    command = [sys.executable, "-m", "flows.cli.main", "run", workspace.write(), "--key", "k"]
    said = subprocess.run(
        command,
        env=environ(prefect_server),
        capture_output=True,
        text=True,
        cwd=workspace.folder,
        check=False,
    )
    workspace.service.forgive()
    line = said.stderr.removeprefix("nightmail: ").removesuffix("\n")
    assert said.stderr == f"nightmail: {line}\n"
    assert "\n" not in line
    assert scenario.line in line
    assert (said.returncode, said.stdout) == (scenario.code, "")
    run = latest_run(prefect_client)
    assert (run.state_name, run.state.message) == ("Failed", line)
    until(lambda: logged(prefect_client, run.id)[-1:] == [(40, line)])
    records = logged(prefect_client, run.id)
    assert [text for level, text in records if level >= 40] == [line]
    assert not [text for _, text in records if "Traceback" in text]


@pytest.mark.parametrize("name", list(SCENARIOS)[:2])
def test_in_a_deployment_the_line_is_all(deployed: Deployed, name: str) -> None:
    scenario = SCENARIOS[name]
    scenario.wrong(deployed.workspace)
    run = deployed.start(
        deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False),
        job=deployed.workspace.write(),
        key="k",
    )
    over = deployed.until_over(run)
    deployed.workspace.service.forgive()
    assert over.state_name == "Failed"
    line = over.state.message
    assert scenario.line in line
    assert "\n" not in line
    until(lambda: (40, line) in logged(deployed.client, run))
    assert [text for level, text in logged(deployed.client, run) if level >= 40] == [line]
    # The worker has tracebacks of its own, such as that of a connection it lost on a busy machine.
    ours = tuple(f'File "{ROOT / room}' for room in ("flows", "tasks", "configs"))
    assert not [frame for frame in deployed.log.splitlines() if frame.strip().startswith(ours)]


def test_a_run_that_is_cancelled_or_interrupted_at_a_terminal_says_so_in_a_line(
    workspace: Workspace, prefect_client: SyncPrefectClient, prefect_server: PrefectServer
) -> None:
    workspace.faults("stuck:in_progress*1")

    def started() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.main", "run", workspace.write(), "--key", "k"],
            env=environ(prefect_server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=workspace.folder,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        until(
            lambda: (
                (run := workspace.ledger.latest_run("letters", "k")) is not None
                and run.lease_owner is not None
                and f"/{process.pid}/" in run.lease_owner
                and any(batch.batch_id for batch in workspace.batches())
            )
        )
        return process

    interrupted = started()
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=300)
    assert (interrupted.returncode, said) == (130, "Interrupted; run the same command again to go on.\n")

    cancelled = started()
    assert nightmail("cancel", "letters/k") == 0
    _, said = cancelled.communicate(timeout=300)
    assert cancelled.returncode == 3
    stopped = f"run {workspace.run_id}: cancelled, or taken over by another process; this one stops here"
    assert said == f"nightmail: {stopped}\n"
    until(lambda: logged(prefect_client, latest_run(prefect_client).id)[-1:] == [(40, stopped)])


def test_an_error_that_nobody_expected_keeps_its_traceback(
    workspace: Workspace, prefect_client: SyncPrefectClient, prefect_server: PrefectServer
) -> None:
    # The command sets what Prefect may print before it imports Prefect: the bug is in what Prefect is not imported for.
    bug = "import configs.load\ndef boom(*_, **__): raise ValueError('a bug')\nconfigs.load.resolve = boom\n"
    program = bug + "from flows.cli.main import main\nmain()\n"
    said = subprocess.run(
        [sys.executable, "-c", program, "run", workspace.write(), "--key", "k"],
        env=environ(prefect_server),
        capture_output=True,
        text=True,
        cwd=workspace.folder,
        check=False,
    )
    assert said.returncode == 3
    assert said.stderr == ("nightmail: unexpected ValueError: a bug; --debug shows where. Nothing is lost.\n")
    records = logged(prefect_client, latest_run(prefect_client).id)
    assert [text for _, text in records if "Traceback" in text and "a bug" in text]
