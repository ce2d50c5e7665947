"""A deployed run that waits for approval sleeps, and goes on when the deployment `approve` is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.approve import approve
from flows.enrich import enrich
from rigs.checkout import ROOT
from rigs.deployed import Deployed

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


def test_a_run_that_waits_for_approval_is_waked_by_the_deployment_approve(
    deployed: Deployed, checkout: str
) -> None:
    workspace = deployed.workspace
    workspace.change("poll", {"first_seconds": 1, "max_seconds": 600})
    workspace.change("budget", {"approve_above_usd": 1.5})
    workspace.change("prompt.params", {"max_completion_tokens": 10})
    dear = deployed.deploy(enrich, "dear", path=checkout, enforce_parameter_schema=False)
    run = deployed.start(dear, job=workspace.write(), key="k")
    asleep = deployed.until(
        run, lambda found: found.state.name == "Sleeping" and not found.infrastructure_pid
    )
    assert "waits for approval" in asleep.state.message
    assert workspace.batches() == ()
    approval = deployed.start(deployed.deploy(approve, "approve", path=checkout), run="letters/k")
    assert deployed.until_over(approval).state.name == "Completed", deployed.log[-3000:]
    assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]
    record = workspace.ledger.latest_run("letters", "k")
    assert record is not None
    assert (record.approved_by or "").startswith("Prefect flow run ")
    assert workspace.column("llm_status") == ["succeeded"] * 10
