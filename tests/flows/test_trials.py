"""Trials: `--limit` tries some rows of a job, and whatever was or will be published in earnest is not touched."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from configs.request import DateRange, RunRequest
from rigs.command_line import nightmail
from rigs.workspace import Workspace
from tasks.backfill.plan import plan_backfill


def trial_of(workspace: Workspace, key: str = "k") -> Path:
    """Where the trial of that key publishes."""
    return workspace.folder / "out/_trial/letters" / key


def rows_in(path: Path) -> int:
    return int(pq.read_table(path).num_rows)


def test_a_trial_before_the_real_run_and_one_after_it_leave_it_alone(workspace: Workspace) -> None:
    first = workspace.run(limit=3)
    assert first["key"] == "k.trial"
    assert first["output"] == str(trial_of(workspace))
    assert not (workspace.folder / "out/letters").exists()
    assert workspace.run()["rows"]["total"] == 10
    workspace.run(key="another", limit=2)
    assert len(workspace.column("id")) == 10
    assert (rows_in(trial_of(workspace)), rows_in(trial_of(workspace, "another"))) == (3, 2)


def test_a_reader_of_the_folder_above_sees_the_real_rows_alone(workspace: Workspace) -> None:
    workspace.run()
    workspace.run(limit=3)
    assert ds.dataset(workspace.folder / "out").count_rows() == 10


def test_a_trial_of_one_file_is_one_file(workspace: Workspace) -> None:
    workspace.change("output.path", "out/letters.parquet")
    workspace.run(limit=3)
    assert rows_in(trial_of(workspace).with_suffix(".parquet")) == 3
    assert trial_of(workspace).with_suffix(".report.html").exists()


def test_a_finished_trial_is_tried_again_when_the_job_changed_and_bought_once_when_not(
    workspace: Workspace,
) -> None:
    first = workspace.run(limit=3)
    assert workspace.run(limit=3)["run"] == first["run"]
    workspace.change("prompt.user", "Shout {{ text }}")
    second = workspace.run(limit=5)
    assert second["generation"] == 2
    assert rows_in(trial_of(workspace)) == 5


def test_an_unfinished_trial_is_not_replaced_by_a_changed_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("tasks.enrich.publish", interrupted)
        workspace.run(limit=3)
    with pytest.raises(ConfigError, match=r"letters k\.trial: the job changed since this run began"):
        workspace.run(limit=5)


def interrupted(_: object) -> None:
    raise KeyboardInterrupt


def test_the_prompt_knows_the_real_key(workspace: Workspace) -> None:
    workspace.change("prompt.user", "{key}: {{ text }}")
    workspace.run(limit=3)
    (requests,) = workspace.home.folder.glob("runs/letters/k.trial/chunks/*/requests-1.jsonl")
    bodies = [json.loads(line)["body"] for line in requests.read_bytes().split(b"\n") if line]
    assert [body["messages"][-1]["content"] for body in bodies] == ["k: word 0", "k: word 1", "k: word 2"]


def test_plan_offers_a_trial_and_the_trial_names_the_real_run(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.source(30)
    words = [workspace.write(), "--model", "m2", "--key", "k"]
    assert nightmail("plan", *words) == 0
    command = f"nightmail run {workspace.job_file} --model m2"
    printed = capsys.readouterr().out
    assert f"To do it: {command} --key k\n" in printed
    assert f"To try 20 rows first: {command} --limit 20 --key k\n" in printed
    assert nightmail("run", *words, "--limit", "20") == 0
    printed, told = capsys.readouterr()
    assert printed.startswith("letters k.trial: 20 rows (20 succeeded)\n")
    assert f"output   {trial_of(workspace)}\n" in printed
    assert told.endswith(f"For all rows: {command} --key k\n")
    assert nightmail("plan", *words, "--limit", "20") == 0
    printed = capsys.readouterr().out
    assert f"output   {trial_of(workspace)}\n" in printed
    assert "rows first" not in printed


def test_status_finds_a_trial_by_either_key_until_there_is_a_real_run(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run(limit=3)
    for name in ("letters/k", "letters/k.trial"):
        assert nightmail("status", name) == 0
        assert capsys.readouterr().out.startswith("letters k.trial (")
    workspace.run()
    assert nightmail("status", "letters/k") == 0
    assert capsys.readouterr().out.startswith("letters k (")


@pytest.mark.parametrize("limit", [0, 3])
def test_a_backfill_with_a_limit_is_of_trials_and_knows_which_are_done(
    workspace: Workspace, limit: int
) -> None:
    day = date(2026, 11, 20)
    workspace.run(key="", date=day, limit=3)
    request = RunRequest(workspace.write(), limit=limit)
    plan = plan_backfill(request, DateRange(start=day, end=day), workspace.home)
    assert [str(entry.state) for entry in plan.dates] == ["done" if limit else "not run yet"]
    assert plan.run_title(day) == "letters 2026-11-20" + (".trial" if limit else "")
    assert plan.dates[0].output == str(
        trial_of(workspace, "2026-11-20") if limit else workspace.folder / "out/letters"
    )
