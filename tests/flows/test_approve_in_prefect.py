"""A deployed run that waits for approval is paused, and goes on when the deployment `approve` is run, or a person resumes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from flows.approve import approve
from flows.enrich import enrich
from rigs.checkout import ROOT
from rigs.deployed import Deployed
from rigs.workspace import Workspace
from tasks.orchestration.durable_sleep import set_without_process
from tasks.orchestration.sleep import WAITS_FOR_APPROVAL

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The product with a price for the model `m`."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "configs", copy / "configs")
    for folder in ("flows", "tasks"):
        (copy / folder).symlink_to(ROOT / folder)
    (copy / "configs/prices.yaml").write_text("prices: [{model: m, input: 0, output: 20000}]\n")
    monkeypatch.setenv("PYTHONPATH", str(copy))
    return str(copy)


def test_a_run_that_waits_for_approval_goes_on_by_the_deployment_approve_and_by_resume_and_not_by_a_sweeps_wake(
    deployed: Deployed, checkout: str
) -> None:
    from prefect.states import AwaitingRetry

    workspace = deployed.workspace
    workspace.change("poll", {"first_seconds": 1, "max_seconds": 600})
    workspace.change("budget", {"approve_above_usd": 1.5})
    workspace.change("prompt.params", {"max_completion_tokens": 10})
    dear = deployed.deploy(enrich, "dear", path=checkout, enforce_parameter_schema=False)
    by_deployment = deployed.start(dear, job=workspace.write(), key="k")
    paused = waits_for_approval(deployed, by_deployment)
    assert "waits for approval" in paused.message

    assert set_without_process(deployed.client, by_deployment, AwaitingRetry())  # as a sweep does
    assert waits_for_approval(deployed, by_deployment, since=paused).id != paused.id
    assert workspace.batches() == ()

    approval = deployed.start(deployed.deploy(approve, "approve", path=checkout), run="letters/k")
    assert deployed.until_over(approval).state.name == "Completed", deployed.log[-3000:]
    assert deployed.until_over(by_deployment).state.name == "Completed", deployed.log[-3000:]
    assert approved_by(workspace, "k").startswith("Prefect flow run ")
    assert workspace.column("llm_status") == ["succeeded"] * 10

    by_resume = deployed.start(dear, job=workspace.write(), key="resumed")
    waits_for_approval(deployed, by_resume)
    deployed.client.resume_flow_run(by_resume)  # as the button in the UI does
    assert deployed.until_over(by_resume).state.name == "Completed", deployed.log[-3000:]
    assert approved_by(workspace, "resumed") == f"Resume in Prefect of flow run {by_resume}"
    assert sum(batch.requests for batch in workspace.batches_of("resumed")) == 10


def waits_for_approval(deployed: Deployed, run: UUID, since: State[Any] | None = None) -> State[Any]:
    """The state in which the flow run waits, without a process; another one than `since`."""

    def reached(found: FlowRun) -> bool:
        state = found.state
        waits = state is not None and (state.type.value, state.name) == ("PAUSED", WAITS_FOR_APPROVAL)
        return waits and not found.infrastructure_pid and (since is None or state.id != since.id)

    state = deployed.until(run, reached).state
    assert state is not None
    return state


def approved_by(workspace: Workspace, key: str) -> str:
    record = workspace.ledger.latest_run("letters", key)
    assert record is not None
    return record.approved_by or ""
