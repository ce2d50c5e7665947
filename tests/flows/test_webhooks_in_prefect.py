"""A webhook wakes a run long before its next look: a flow run that sleeps on a real server, and a run in a terminal."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from flows.enrich import enrich
from rigs.command_line import started, until
from rigs.deployed import Deployed
from rigs.prefect_server import PrefectServer
from rigs.signed import OTHER_SECRET, SECRET, event, signed
from rigs.workspace import Workspace, everything_once

pytestmark = pytest.mark.slow

AN_HOUR = {"first_seconds": 3600, "max_seconds": 3600}


@contextmanager
def receiver(workspace: Workspace) -> Iterator[str]:
    """`nightmail webhooks` as a process; where OpenAI's are taken."""
    process = started(workspace, "webhooks", "--port", "0")
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=60)


def post(url: str, batch_id: str, event_id: str, secret: str = SECRET) -> int:
    body = event(batch_id)
    request = urllib.request.Request(url, body, signed(body, event_id, secret))
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=120
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_a_flow_run_that_sleeps_is_waked(
    deployed: Deployed, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = deployed.workspace
    workspace.change("poll", AN_HOUR)
    deployment = deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False)
    run = deployed.start(deployment, job=workspace.write(), key="k")
    asleep = deployed.until_state(run, "Sleeping").state
    wake = asleep.state_details.scheduled_time
    assert wake > datetime.now(UTC) + timedelta(minutes=30)
    (batch,) = workspace.batches()
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("PREFECT_API_URL", prefect_server.url)
    with receiver(workspace) as url:
        assert post(url, batch.batch_id, "evt_1", OTHER_SECRET) == 401
        assert post(url, "batch_of_others", "evt_2") == 204
        assert deployed.client.read_flow_run(run).state.id == asleep.id
        assert post(url, batch.batch_id, "evt_3") == 204
        over = deployed.until_over(run)
        assert over.state.name == "Completed", over.state.message
        assert post(url, batch.batch_id, "evt_3") == 204
        assert post(url, batch.batch_id, "evt_4") == 204
    assert datetime.now(UTC) < wake
    messages = [state.message for state in deployed.client.read_flow_run_states(run)]
    assert f"openai says that something has become of {batch.batch_id}" in messages
    kinds = [each.kind for each in workspace.ledger.history(workspace.run_id)]
    assert kinds.count("webhook") == 1
    everything_once(workspace)
    assert deployed.client.read_flow_run(run).state.id == over.state.id


def test_a_run_in_a_terminal_sees_it_in_the_ledger(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.change("poll", AN_HOUR)
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    process = started(workspace, "run", workspace.write(), "--key", "k")
    try:
        until(lambda: posted(workspace))
        (batch,) = workspace.batches()
        with receiver(workspace) as url:
            assert post(url, batch.batch_id or "", "evt_1") == 204
        said = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, said
    everything_once(workspace)


def posted(workspace: Workspace) -> bool:
    """Whether the run's batch is there, and is to be looked at in an hour."""
    run = workspace.ledger.latest_run("letters", "k")
    return run is not None and any(chunk.state == "submitted" for chunk in workspace.ledger.chunks(run.id))
