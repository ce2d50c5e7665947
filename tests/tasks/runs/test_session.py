"""Opening a run: whether it is the run that was begun."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError
from rigs.interrupted import stopped_after_submitting


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_source_that_changed_under_an_unfinished_run_needs_a_decision(
    works: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stopped_after_submitting(works, monkeypatch)
    if how == "gone":
        (works.folder / "rows.parquet").unlink()
    else:
        works.source(12)
    with pytest.raises(
        ConfigError, match=r"(has changed|is gone) since this run read it; --snapshot .* --key"
    ):
        works.run()
    receipt = works.run(snapshot=True)
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert works.paid() == {"1/1": 1}
