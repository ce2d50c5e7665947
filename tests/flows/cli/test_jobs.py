"""`nightmail jobs` without a Prefect server: what there is, and what is wrong with it. With one: tests/flows/deploy/test_jobs.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from rigs.command_line import nightmail
from rigs.workspace import Workspace


@pytest.fixture
def put(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a job file into a folder of jobs, which NIGHTMAIL_JOBS_URL names."""
    folder = workspace.folder / "jobs"
    folder.mkdir()
    monkeypatch.setenv("NIGHTMAIL_JOBS_URL", str(folder))

    def write(file: str, **changes: Any) -> None:
        tree = {**workspace.tree, "source": {"path": "../rows.parquet", "key": "id"}, **changes}
        (folder / file).write_text(yaml.safe_dump(tree))

    return write


def test_what_there_is_is_listed(workspace: Workspace, put: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put("a.yaml", schedule={"cron": "30 22 * * *", "timezone": "Asia/Tokyo"})
    put("b.yml", name="other", schedule={"cron": "0 5 * * *", "active": False})
    assert nightmail("jobs") == 0
    shown = capsys.readouterr()
    head, first, second = (line.split("\t") for line in shown.out.splitlines())
    assert head == ["job", "schedule", "next_start", "source", "model", "deployed"]
    assert first[:2] == ["letters", "30 22 * * *"]
    assert first[2].endswith(" 22:30 JST")
    assert second[:3] == ["other", "0 5 * * * (off)", ""]
    assert shown.err == "not compared: no Prefect server\n"
    assert not workspace.home.folder.exists()


def test_what_is_wrong_is_said_of_each_file(
    workspace: Workspace, put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    put("good.yaml")
    put("namesake.yaml")
    put("column.yaml", name="column", prompt={"model": "m", "user": "Say {{ nothing }}"})
    put("cron.yaml", name="cron", schedule={"cron": "often"})
    put("source.yaml", name="source", source={"path": "gone.csv"})
    put("output.yaml", name="output", output={"path": "foo://x/y"})
    put("fixed.yaml", name="ad-hoc")
    put("other.yaml", name="sweep")
    assert nightmail("jobs", "--json") == 2
    shown = capsys.readouterr()
    rows = {row["file"].rpartition("/")[2]: row["problem"] for row in json.loads(shown.out)}
    assert rows.pop("good.yaml") is None
    said = {
        "namesake.yaml": "name: 'letters' is that of",
        "column.yaml": "nothing",
        "cron.yaml": "schedule.cron: is no cron expression",
        "source.yaml": "gone.csv",
        "output.yaml": "output.path: foo://x/y: ",
        "fixed.yaml": "name: 'ad-hoc' is that of a deployment of prefect.yaml; give it another",
        "other.yaml": "name: 'sweep' is that of a deployment of prefect.yaml; give it another",
    }
    assert rows.keys() == said.keys()
    folder = workspace.folder / "jobs"
    for file, words in said.items():
        assert words in rows[file]
        assert rows[file].startswith(f"{folder / file}: ")
        assert rows[file].count(str(folder / file)) == 1
        assert f"nightmail: {rows[file]}\n" in shown.err


def test_a_problem_names_a_file_of_the_checkout_once(
    workspace: Workspace, put: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put("cron.yaml", schedule={"cron": "often"})
    put("output.yaml", output={"path": "foo://x/y"})
    (workspace.folder / "elsewhere").mkdir()
    monkeypatch.chdir(workspace.folder / "elsewhere")
    monkeypatch.setattr("configs.request.ROOT", workspace.folder)
    assert nightmail("jobs") == 2
    cron, output = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nightmail: ")]
    assert cron.startswith(f"nightmail: {workspace.folder}/jobs/cron.yaml: schedule.cron: ")
    assert output.startswith("nightmail: jobs/output.yaml: output.path: ")


def test_a_folder_that_is_not_there_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTMAIL_JOBS_URL", "nowhere")
    assert nightmail("jobs") == 2
    assert "NIGHTMAIL_JOBS_URL nowhere: is no folder" in capsys.readouterr().err
    monkeypatch.setenv("NIGHTMAIL_JOBS_URL", "s3://key:secret-word@bucket/jobs")
    assert nightmail("jobs") == 2
    said = capsys.readouterr().err
    assert "NIGHTMAIL_JOBS_URL: the URL holds a user name or password" in said
    assert "secret-word" not in said
