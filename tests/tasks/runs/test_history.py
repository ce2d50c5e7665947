"""What earlier batches and a run's own first chunks teach its estimate, through the embedded service and the ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from flows.cli.main import main
from rigs.workspace import Workspace
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.runs import prices
from tasks.runs.history import revision

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def planned(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit):
        main(["plan", workspace.write(), "--key", "next", "--json"])
    estimate: dict[str, Any] = json.loads(capsys.readouterr().out)["estimate"]
    return estimate


def bill(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, factor: float) -> dict[str, Any]:
    """Run the job at a provider that counts so many tokens for each of ours."""
    from tasks import merge

    spent = merge._spent

    def dearer(*args: Any) -> dict[str, Any]:
        values = spent(*args)
        return {**values, "input_tokens": round(values["input_tokens"] * factor)}

    with monkeypatch.context() as patched:
        patched.setattr(merge, "_spent", dearer)
        return workspace.run()


def test_the_next_run_of_a_prompt_is_estimated_by_what_the_last_one_was_billed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.change("prompt.params", {"max_completion_tokens": 100})
    before = planned(workspace, capsys)
    assert before["output"] == {"low": 0, "expected": None, "high": 1_000}
    first = bill(workspace, monkeypatch, 1.25)
    assert first["estimate_deviation"] == pytest.approx(0.25, abs=0.01)
    after = planned(workspace, capsys)
    assert after["prompt_tokens"] == pytest.approx(before["prompt_tokens"] * 1.25, abs=2)
    assert "by 1 finished batch of this prompt" in after["method"]
    assert after["output"]["expected"] == first["tokens"]["output"]
    assert after["output"]["high"] < 1_000
    assert bill(workspace, monkeypatch, 1.25)["estimate_deviation"] == pytest.approx(0.25, abs=0.01), (
        "the same run"
    )
    workspace.change("source.limit", 5)
    monkeypatch.setattr(workspace, "tree", {**workspace.tree, "output": {"path": "out/other"}})
    assert planned(workspace, capsys)["prompt_tokens"] == pytest.approx(after["prompt_tokens"] / 2, abs=2)


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ({"prompt.user": "Tell me of {{ text }}"}, "other prompts of this kind"),
        ({"prompt.model": "another"}, "other prompts of this kind"),
        ({"prompt.endpoint": "/v1/responses"}, None),
        ({"prompt.schema": SCHEMA}, None),
        ({"provider": {"name": "local"}}, None),
        ({"source.limit": 3}, "this prompt"),
    ],
)
def test_others_are_estimated_by_it_only_where_the_provider_counts_alike(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    by: str | None,
) -> None:
    workspace.source(4)
    bill(workspace, monkeypatch, 1.25)
    for key, value in change.items():
        workspace.change(key, value)
    found = planned(workspace, capsys)
    assert ("finished batch" in found["method"]) is (by is not None)
    assert by is None or f"by 1 finished batch of {by}" in found["method"]
    assert (found["output"]["expected"] is not None) is (by == "this prompt"), "answers are the prompt's own"


def test_pictures_and_searches_teach_nothing_of_other_prompts(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.source(4)
    workspace.change("prompt.params", {"tools": [{"type": "web_search"}]})
    bill(workspace, monkeypatch, 9)
    assert "of this prompt" in planned(workspace, capsys)["method"]
    workspace.change("prompt.params", {})
    assert "finished batch" not in planned(workspace, capsys)["method"]


def test_the_first_finished_chunk_revises_the_rest_of_its_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = {"prices": [{"model": "m", "input": 1, "output": 2}]}
    monkeypatch.setattr(prices, "load_prices", lambda: mine)
    workspace.source(20)
    workspace.change("limits.max_requests", 10)
    receipt = workspace.run()
    run, chunks = workspace.ledger.latest_run("letters", "k"), workspace.ledger.chunks(workspace.run_id)
    assert run is not None
    first, second = workspace.batches()
    open_chunk, open_batch = as_posted(chunks[1], second)
    found = revision(run, [chunks[0], open_chunk], [first, open_batch])
    assert found is not None
    assert (found.finished_chunks, found.chunks) == (1, 2)
    assert found.prompt_tokens == pytest.approx(receipt["tokens"]["input"], rel=0.05)
    assert found.output_tokens == pytest.approx(receipt["tokens"]["output"], rel=0.05)
    assert found.cost_usd == pytest.approx(receipt["cost_usd"], rel=0.05)
    assert revision(run, [open_chunk], [open_batch]) is None
    assert revision(run, chunks, [first, second]) is None
    one_ahead = replace(open_chunk, attempt=2, requests=1)
    assert revision(run, [chunks[0], one_ahead], [first, open_batch]) is None, (
        "the others of its chunk follow"
    )
    assert workspace.run() == receipt
    with pytest.raises(SystemExit):
        main(["status", "letters/k"])
    assert "estimate about" not in capsys.readouterr().out, "it is over, and the receipt says more"


def as_posted(chunk: ChunkRecord, batch: BatchRecord) -> tuple[ChunkRecord, BatchRecord]:
    """The two before the batch ended."""
    unknown = {"input_tokens": None, "output_tokens": None, "counted_requests": None, "cost_usd": None}
    return replace(chunk, state=ChunkState.SUBMITTED, stats=None), replace(batch, ended_at=None, **unknown)  # type: ignore[arg-type]


def test_a_waiting_run_says_what_its_first_chunk_makes_of_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rigs.interrupted import Stop
    from tasks import advance
    from tasks import enrich as flow

    workspace.source(20)
    workspace.change("limits.max_requests", 10)
    workspace.faults("stuck:in_progress*1")
    waits: list[str] = []

    def note(run: Any, wake: Any) -> str:
        waits.append(advance_wait(run, wake))
        if "chunks)" in waits[-1]:
            raise Stop
        return waits[-1]

    advance_wait = advance.describe_wait
    monkeypatch.setattr(flow, "describe_wait", note)
    with pytest.raises(Stop):
        workspace.run()
    assert "tokens in, " in waits[-1]
    assert "in all (by 1 of 2 chunks)" in waits[-1]
    with pytest.raises(SystemExit):
        main(["status", "letters/k"])
    assert "estimate about " in capsys.readouterr().out
