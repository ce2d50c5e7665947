"""The main job, whole: a dataset in, enriched Parquet out, through the genuine SDK over a socket."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from rigs.workspace import Workspace


def test_every_row_comes_out_once_in_source_order_with_its_answer(workspace: Workspace) -> None:
    workspace.source(100)
    workspace.change("limits.max_requests", 7)
    receipt = workspace.run()
    assert workspace.column("id") == [f"t-{n}" for n in range(100)]
    assert all(f"word {n}" in answer for n, answer in enumerate(workspace.column("llm_answer")))
    assert receipt["rows"] == {"total": 100, "succeeded": 100}
    assert receipt["chunks"] == 15
    assert workspace.paid() == {f"{n}/1": 1 for n in sorted(range(1, 16), key=str)}


def test_nothing_of_ours_is_left_at_the_provider_or_in_progress_on_disk(workspace: Workspace) -> None:
    workspace.change("limits.max_requests", 3)
    before = {file.id for file in workspace.service.client().files.list()}
    workspace.run()
    assert {file.id for file in workspace.service.client().files.list()} == before
    left = [path.name for path in workspace.folder.rglob("*") if path.suffix in (".part", ".new", ".old")]
    assert left == []


def test_the_same_key_again_posts_nothing(workspace: Workspace) -> None:
    first = workspace.run()
    paid = workspace.paid()
    assert workspace.run() == first
    assert workspace.paid() == paid


def test_redo_replaces_the_output_by_a_new_generation(workspace: Workspace) -> None:
    workspace.run()
    workspace.change("prompt.user", "Shout {{ text }}")
    with pytest.raises(ConfigError, match=r"the job changed since this run began \(prompt\.user\).*--redo"):
        workspace.run()
    receipt = workspace.run(redo=True)
    assert receipt["generation"] == 2
    assert "Shout" in workspace.column("llm_answer")[0]
    assert len(list((workspace.folder / "out/letters").glob("*.parquet"))) == 1


def test_names_of_the_date_work_in_paths_and_prompts(workspace: Workspace) -> None:
    workspace.source(2)
    (workspace.folder / "rows.parquet").rename(workspace.folder / "rows-2026-11-05.parquet")
    workspace.change("source.path", "rows-{date}.parquet")
    workspace.change("output.path", "out/{year}/{month}/{day}")
    workspace.change("prompt.user", "On {date}: {{ text }}")
    workspace.run(key=None, date=datetime.date(2026, 11, 5))
    table = pq.read_table(workspace.folder / "out/2026/11/05")
    assert "On 2026-11-05: word 0" in table["llm_answer"][0].as_py()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source.path": "nowhere.parquet"}, "nowhere.parquet"),
        ({"source.key": "idd"}, "did you mean"),
        ({"prompt.user": "{{ texd }}"}, "text"),
        ({"prompt.user": "{{ text"}, "prompt.user"),
        ({"output.prefix": "t", "source.key": None}, "already has a column 'text'|prefix"),
        ({"output.path": "taken"}, "was not written by Nightmail"),
        ({"prompt.schema": {"type": "strange"}}, "prompt.schema"),
        ({"provider.api_key_env": "NO_SUCH_KEY"}, "the environment has no NO_SUCH_KEY"),
    ],
)
def test_bad_input_writes_nothing_and_posts_nothing(
    workspace: Workspace, change: dict[str, Any], message: str
) -> None:
    if "output.prefix" in change:
        workspace.source(3, tstatus=["a", "b", "c"])
        message = "tstatus"
    (workspace.folder / "taken").mkdir()
    (workspace.folder / "taken/mine.txt").write_text("precious")
    for key, value in change.items():
        workspace.change(key, value)
    workspace.write()
    before = sorted(workspace.folder.rglob("*"))
    with pytest.raises(ConfigError, match=message) as caught:
        workspace.run()
    assert "\n" not in str(caught.value)
    assert sorted(workspace.folder.rglob("*")) == before


def test_no_secret_is_written_anywhere(workspace: Workspace) -> None:
    workspace.run()
    for path in workspace.folder.rglob("*"):
        if path.is_file():
            assert b"sk-secret" not in path.read_bytes(), path
