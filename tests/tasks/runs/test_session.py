"""Opening a run: whether it is the run that was begun."""

from __future__ import annotations

import pytest

from configs.errors import ConfigError
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_source_that_changed_under_an_unfinished_run_needs_a_decision(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stopped_after_submitting(workspace, monkeypatch)
    if how == "gone":
        (workspace.folder / "rows.parquet").unlink()
    else:
        workspace.source(12)
    with pytest.raises(
        ConfigError, match=r"(has changed|is gone) since this run read it; --snapshot .* --key"
    ):
        workspace.run()
    receipt = workspace.run(snapshot=True)
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1}
