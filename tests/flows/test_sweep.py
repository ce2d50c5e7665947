"""The flow `sweep` on a real server with a real worker."""

from __future__ import annotations

import pytest

from rigs.deployed import Deployed

pytestmark = pytest.mark.soak


def test_a_sweep_runs_under_a_worker_and_leaves_nothing_to_look_at_when_nothing_was_done(
    deployed: Deployed,
) -> None:
    from flows.sweep import sweep

    run = deployed.start(deployed.deploy(sweep, "sweep"))
    assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]
    assert deployed.artifacts(run) == {}
    deployed.workspace.service.fault("delete", "status:500", times=10)
    deployed.workspace.run()
    deployed.workspace.service.forgive()
    run = deployed.start(deployed.deploy(sweep, "sweep"))
    assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]
    assert "letters k: deleted file" in deployed.artifacts(run)["sweep"].data
