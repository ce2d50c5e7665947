"""The flow `stats` on a real server with a real worker: one artifact under its key, whose picture a browser shows."""

from __future__ import annotations

import pytest

from flows.stats import stats
from rigs.deployed import Deployed

pytestmark = pytest.mark.slow


def test_statistics_are_an_artifact_of_a_stable_key(deployed: Deployed) -> None:
    deployed.workspace.run()
    deployment = deployed.deploy(stats, "stats")
    for by in ("model", "job"):
        run = deployed.start(deployment, by=by)
        assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]
        (artifact,) = deployed.artifacts(run).values()
        assert (artifact.key, artifact.type) == ("stats", "markdown")
        assert artifact.description == f"Statistics of the last 30d, by {by}"
        assert f"| {by} | requests | failed |" in artifact.data
        assert "data:image/svg+xml;base64," in artifact.data
