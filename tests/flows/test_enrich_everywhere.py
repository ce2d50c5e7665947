"""One job file, every provider: only `provider` and the model's name change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest

from fakes.contract import STAGES, EmbeddedStage, Stage
from rigs.interrupted import stopped_after_submitting
from rigs.ledger_files import lose
from rigs.workspace import Workspace

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["bug", "other"]}, "urgent": {"type": "boolean"}},
    "required": ["label", "urgent"],
    "additionalProperties": False,
}


@pytest.fixture
def letters(workspace: Workspace) -> Workspace:
    """The job, in OpenAI's words."""
    workspace.change("prompt.system", "You sort letters.")
    workspace.change("prompt.user", "Sort this: {{ text }}")
    workspace.change("prompt.params", {"max_completion_tokens": 200})
    workspace.change("prompt.schema", SCHEMA)
    return workspace


@pytest.mark.parametrize("name", STAGES)
def test_the_same_job_gives_the_same_columns_everywhere(
    letters: Workspace, stages: Callable[[str], Stage], at_once: Callable[[Stage], Stage], name: str
) -> None:
    stage = at_once(stages(name))
    letters.tree["provider"] = stage.settings.model_dump(mode="json")
    before = stage.created()
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.column("id") == [f"t-{n}" for n in range(10)]
    fields = [pa.field("label", pa.string()), pa.field("urgent", pa.bool_())]
    assert letters.out.schema.field("llm_parsed").type == pa.struct(fields)
    assert all(row["label"] in ("bug", "other") for row in letters.column("llm_parsed"))
    assert (receipt["provider"], receipt["batches"]["posted"]) == (name, 1)
    assert receipt["tokens"]["input"] > 0
    assert stage.created() == before + 1


@pytest.mark.parametrize("name", STAGES)
def test_a_run_whose_ledger_was_lost_is_the_same_run_and_buys_nothing_anywhere(
    letters: Workspace,
    stages: Callable[[str], Stage],
    at_once: Callable[[Stage], Stage],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    stage = at_once(stages(name))
    letters.tree["provider"] = stage.settings.model_dump(mode="json")
    stopped_after_submitting(letters, monkeypatch)
    created, run_id = stage.created(), letters.run_id
    for _ in range(2):  # while it waits, and when it is finished and its batch deleted
        lose(letters.home.folder)
        assert letters.run()["rows"] == {"total": 10, "succeeded": 10}
        assert (letters.run_id, stage.created()) == (run_id, created)
        assert letters.column("id") == [f"t-{n}" for n in range(10)]


CLOCKS = [
    (name, hours)
    for name, kind in STAGES.items()
    for hours in ((0,) if kind is EmbeddedStage else (-72, 72))  # which has this machine's clock
]


@pytest.mark.parametrize(("name", "hours"), CLOCKS)
def test_a_lost_reply_a_damaged_download_and_a_wrong_clock_there_cost_time_and_nothing_else(
    letters: Workspace,
    stages: Callable[[str], Stage],
    at_once: Callable[[Stage], Stage],
    fast_faults: None,
    name: str,
    hours: int,
) -> None:
    stage = at_once(stages(name))
    stage.fake.skew = timedelta(hours=hours)
    letters.tree["provider"] = stage.settings.model_dump(mode="json")
    created = stage.created()
    stage.fault("create", "drop_reply")
    stage.fault("content", "cut_at_line")
    assert letters.run()["rows"] == {"total": 10, "succeeded": 10}
    assert letters.column("id") == [f"t-{n}" for n in range(10)]
    assert stage.created() == created + 1
