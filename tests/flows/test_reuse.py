"""Answers of earlier runs are not bought again: a second night posts what changed, and comes to the same as if all were asked."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rigs.workspace import Workspace

ROWS = 200
ANSWERS = ("id", "text", "llm_answer", "llm_finish_reason", "llm_model")


@pytest.fixture
def night(workspace: Workspace) -> Workspace:
    """A job with `reuse` whose first night is over."""
    workspace.source(ROWS)
    workspace.change("reuse", True)
    workspace.change("limits.max_requests", 90)
    workspace.run(key="first")
    return workspace


def texts(changed: int = 2, new: int = 2) -> dict[str, list[str]]:
    """The next night's rows: so many with another text, and so many more."""
    rows = [f"word {n}" if n % 100 or not changed else f"other word {n}" for n in range(ROWS)]
    return {"id": [f"t-{n}" for n in range(ROWS + new)], "text": rows + [f"new word {n}" for n in range(new)]}


def answers(workspace: Workspace) -> pa.Table:
    return workspace.out.select(ANSWERS)


def test_a_second_night_posts_what_changed_and_comes_to_what_asking_everything_does(night: Workspace) -> None:
    night.source(**texts())
    receipt = night.run(key="second")
    assert receipt["rows"] == {"total": ROWS + 2, "succeeded": 4, "reused": ROWS - 2}
    assert sum(batch.requests for batch in night.batches_of("second")) == 4
    second = answers(night)
    reused = night.out.filter(pa.compute.equal(night.out["llm_status"], "reused"))
    assert set(reused["llm_reused_from"].to_pylist()) == {"letters/first"}
    assert all(
        set(reused[f"llm_{name}"].to_pylist()) == {0}
        for name in ("attempts", "input_tokens", "output_tokens")
    )
    night.change("reuse", False)
    night.run(key="all")
    assert answers(night) == second
    assert night.statuses() == {"succeeded": ROWS + 2}
