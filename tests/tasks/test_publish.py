"""The output of a run: where it appears, and whose output it may replace."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError, IntegrityError
from rigs.workspace import Workspace, everything_once


def test_an_output_path_that_ends_in_parquet_is_one_file(workspace: Workspace) -> None:
    workspace.change("output.path", "out/letters.parquet")
    workspace.change("limits.max_requests", 4)
    workspace.run()
    assert (workspace.folder / "out/letters.parquet").is_file()
    assert workspace.column("id") == [f"t-{n}" for n in range(10)]
    assert json.loads((workspace.folder / "out/letters.receipt.json").read_text())["chunks"] == 3


def test_the_output_of_another_job_is_left_alone(workspace: Workspace) -> None:
    workspace.run()
    workspace.change("name", "other")
    with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
        workspace.run()


def test_a_job_of_fewer_rows_does_not_replace_what_another_key_published(workspace: Workspace) -> None:
    workspace.run(key="whole")
    fewer = ["source.limit=3"]
    with pytest.raises(
        ConfigError, match=r"holds 10 rows of whole, and source.limit is 3; --limit 3 instead"
    ):
        workspace.run(key="fewer", overrides=fewer)
    workspace.run(key="fewer", overrides=[*fewer, "output.path=out/{key}"])
    assert len(workspace.column("id")) == 10


@pytest.mark.parametrize("output", ["out", "out/all.parquet"])
@pytest.mark.parametrize("damage", ["cut", "gone", "rows missing", "zeros inside"])
def test_enriched_rows_that_are_not_whole_are_merged_anew_before_they_are_published(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, output: str, damage: str
) -> None:
    from tasks import publish as publishing

    def receipt_after_damage(*given: Any) -> Any:
        path = workspace.home.folder / "runs/letters/k/chunks/00002/enriched.parquet"
        content = path.read_bytes()
        if damage == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "gone":
            path.unlink()
        elif damage == "rows missing":
            pq.write_table(pq.read_table(path).slice(1), path)
        else:
            path.write_bytes(content[:4] + bytes(300) + content[304:])
        return receipt(*given)

    receipt = publishing._receipt
    monkeypatch.setattr(publishing, "_receipt", receipt_after_damage)
    workspace.change("limits.max_requests", 4)
    workspace.change("output.path", output)
    workspace.run()
    everything_once(workspace)
    assert workspace.statuses() == {"succeeded": 10}
    history = workspace.ledger.history(workspace.run_id)
    assert [event.detail for event in history if event.kind == "merged anew"] == [
        "chunk 2: chunks/00002/enriched.parquet was damaged or gone"
    ]


def test_results_that_are_not_what_they_were_publish_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import publish as publishing

    def damaged(*given: Any) -> Any:
        chunk = workspace.home.folder / "runs/letters/k/chunks/00001"
        (chunk / "enriched.parquet").unlink()
        results = chunk / "results-1-0.jsonl"
        results.write_bytes(results.read_bytes().split(b"\n")[0] + b"\n")
        return receipt(*given)

    receipt = publishing._receipt
    monkeypatch.setattr(publishing, "_receipt", damaged)
    with pytest.raises(
        IntegrityError, match=r"chunk 1: its results in .* are not what they were .*; nothing was"
    ):
        workspace.run()
    assert not (workspace.folder / "out").exists()
