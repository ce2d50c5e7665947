"""A column of conversations, from the dataset to every vendor and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fakes.contract import STAGES, Stage
from rigs.workspace import Workspace

ASKED: list[Any] = [
    [{"role": "system", "content": "Be {{ brief }}."}, {"role": "user", "content": "Say one"}],
    [{"role": "user", "content": [{"type": "text", "text": "Say two"}]}],
    None,
    [],
    [{"role": "robot", "content": "x"}],
]


@pytest.fixture
def conversations(workspace: Workspace) -> Workspace:
    """A job that asks what its rows say, of which three say nothing that can be asked."""
    workspace.tree["prompt"] = {"model": "m", "messages_from": "messages", "system": "For {{ id }}."}
    workspace.tree["source"]["path"] = "rows.jsonl"
    lines = [json.dumps({"id": f"t-{n}", "messages": asked}) for n, asked in enumerate(ASKED)]
    (workspace.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return workspace


@pytest.mark.parametrize("name", STAGES)
def test_conversations_are_asked_everywhere_and_rows_without_one_are_skipped(
    conversations: Workspace, stages: Callable[[str], Stage], at_once: Callable[[Stage], Stage], name: str
) -> None:
    stage = at_once(stages(name))
    conversations.tree["provider"] = stage.settings.model_dump(mode="json")
    conversations.run()
    assert conversations.column("llm_status") == ["succeeded"] * 2 + ["skipped"] * 3
    assert conversations.column("llm_error_code") == [None, None, *["invalid_messages"] * 3]
    why = conversations.column("llm_error_message")
    assert "there is no conversation in this row" in why[2]
    assert "messages_from[0].role: must be one of" in why[4]


def test_the_same_conversation_is_reused_and_another_is_asked(conversations: Workspace) -> None:
    conversations.tree |= {"reuse": True}
    conversations.run(key="first")
    changed = [*ASKED[:1], [{"role": "user", "content": "Say three"}], *ASKED[2:]]
    table = pa.table({"id": [f"t-{n}" for n in range(5)], "messages": [json.dumps(each) for each in changed]})
    pq.write_table(table, conversations.folder / "rows.parquet")
    conversations.tree["source"]["path"] = "rows.parquet"
    conversations.run(key="second")
    assert conversations.column("llm_status") == ["reused", "succeeded", *["skipped"] * 3]
