"""The output of a run: where it appears, and whose output it may replace."""

from __future__ import annotations

import json

import pytest

from configs.errors import ConfigError
from rigs.workspace import Workspace


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
