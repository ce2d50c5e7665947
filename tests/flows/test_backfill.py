"""The flow `backfill` on a real server with a real worker."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.backfill import backfill
from flows.enrich import enrich
from rigs.deployed import Deployed
from rigs.workspace import Workspace

pytestmark = pytest.mark.soak


@pytest.fixture
def dated(deployed: Deployed) -> Workspace:
    """A job with a source per date; the one of the 2nd is missing."""
    workspace = deployed.workspace
    for day in ("2026-11-01", "2026-11-03"):
        pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"]}), workspace.folder / f"{day}.parquet")
    workspace.change("source.path", "{date}.parquet")
    workspace.change("output.path", "out/{date}")
    deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False, job_variables={"env": deployed.environ})
    return workspace


def test_a_backfill_starts_a_few_sleeps_tells_what_failed_and_goes_on_with_what_is_missing(
    deployed: Deployed, dated: Workspace
) -> None:
    deployment = deployed.deploy(backfill, "backfill", enforce_parameter_schema=False)
    asked = {"job": dated.write(), "start": "2026-11-01", "end": "2026-11-03"}
    first = deployed.start(
        deployment, **asked, max_parallel=1, overrides=["prompt.params.seed=7"], snapshot=True
    )
    napping = deployed.until_state(first, "Sleeping")
    assert napping.name == "backfill letters 2026-11-01 to 2026-11-03"
    assert napping.state.message == "0/3 dates done, 1 running, 2 others"
    over = deployed.until_over(first, 400)
    assert over.state.name == "Failed"
    assert over.state.message.startswith("1 of 3 dates failed: 2026-11-02; 2026-11-02: "), over.state.message
    assert over.run_count >= 2
    shown = deployed.artifacts(first)
    plan = json.loads(shown["backfill-plan-letters"].data)
    assert [(row["date"], row["state"], row["rows"]) for row in plan] == [
        ("2026-11-01", "not run yet", 2),
        ("2026-11-02", "no source", None),
        ("2026-11-03", "not run yet", 2),
    ]
    came = json.loads(shown["backfill-letters"].data)
    assert [(row["date"], row["state"], row["rows"]) for row in came] == [
        ("2026-11-01", "done", 2),
        ("2026-11-02", "failed", None),
        ("2026-11-03", "done", 2),
    ]
    children = [run for run in deployed.client.read_flow_runs() if f"backfill-{first}" in run.tags]
    assert sorted(run.name for run in children) == ["letters 2026-11-01", "letters 2026-11-03"]
    assert all(run.parameters["overrides"] == ["prompt.params.seed=7"] for run in children)
    assert all(run.parameters["snapshot"] for run in children)

    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}), dated.folder / "2026-11-02.parquet")
    planned = deployed.start(deployment, **asked, dry_run=True)
    assert deployed.until_over(planned).state.name == "Completed", deployed.log[-3000:]
    plan = json.loads(deployed.artifacts(planned)["backfill-plan-letters"].data)
    assert [row["state"] for row in plan] == ["done", "not run yet", "done"]

    asked["overrides"] = ["prompt.params.seed=7"]
    second = deployed.start(deployment, **asked)
    assert deployed.until_over(second, 400).state.name == "Completed", deployed.log[-3000:]
    children = [run for run in deployed.client.read_flow_runs() if f"backfill-{second}" in run.tags]
    assert [run.name for run in children] == ["letters 2026-11-02"]
