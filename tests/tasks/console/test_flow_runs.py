"""With a Prefect server, what is started from the console is a flow run of its deployments."""

from __future__ import annotations

from datetime import date

import pytest

from configs.errors import ConfigError
from configs.request import RunRequest
from rigs.site import Site
from rigs.workspace import Workspace
from tasks.console.flow_runs import OnPrefect

pytestmark = pytest.mark.slow


def test_runs_are_started_and_cancelled_by_the_deployments(site: Site) -> None:
    workspace: Workspace = site.workspace
    request = RunRequest(workspace.write(), date=date(2026, 11, 21), limit=5)
    actions = OnPrefect(lambda run: f"{run} is approved")
    with pytest.raises(ConfigError, match="enrich/ad-hoc: is not deployed; run `nightmail deploy`"):
        actions.run(request)
    site.deploy()
    done = actions.run(request)
    assert "created the flow run" in done.lines[0]
    (run,) = [run for run in site.client.read_flow_runs() if run.name == "job 2026-11-21"]
    assert run.parameters["job"] == request.job
    assert run.parameters["date"] == "2026-11-21"
    assert run.parameters["limit"] == 5
    workspace.run()
    record = workspace.ledger.latest_run("letters", "k")
    assert record is not None
    assert "cancel letters k of cancel/cancel" in actions.cancel(record).lines[0]
    cancelled = [run for run in site.client.read_flow_runs() if run.parameters == {"run": record.id}]
    assert len(cancelled) == 1
    assert actions.approve(record).lines == (f"{record.id} is approved",)
