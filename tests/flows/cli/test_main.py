"""What every command of `nightmail` shares: exit codes, one-line errors, data on stdout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rigs.checkout import ROOT
from rigs.command_line import nightmail, started, until
from rigs.workspace import Workspace


@pytest.mark.parametrize(
    "words",
    [
        ("run", "nowhere.yaml"),
        ("run",),
        ("fly", "me"),
        ("run", "job.yaml", "--limit", "many"),
        ("run", "job.yaml", "--limit", "-1"),
        ("run", "job.yaml", "--provider", "nobody"),
        ("run", "job.yaml", "--redo", "--retry"),
        ("plan", "job.yaml", "--retry"),
        ("run", "job.yaml", "--date", "yesterday"),
        ("run", "job.yaml", "--key", "../up"),
        ("run", "job.yaml", "--set", "prompt.parms=1"),
        ("run", "job.yaml", "--set", "source.path=none.parquet"),
        ("plan", "job.yaml", "--set", "prompt.user='{{ nope }}'"),
        ("plan", "job.yaml", "--sample", "0"),
        ("plan", "job.yaml", "--sample", "1", "--json"),
        ("plan", "job.yaml", "--sample", "1", "--set", "prompt.user='{{ nope }}'"),
        ("status", "--csv", "--json"),
        ("batches", "--csv", "--markdown"),
        ("status", "no/run"),
        ("cancel", "no/run"),
        ("approve", "no/run"),
        ("check", "nowhere.jsonl"),
    ],
)
def test_wrong_usage_ends_with_2_says_why_and_writes_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    workspace.write()
    before = sorted(workspace.folder.rglob("*"))
    assert nightmail(*words) == 2
    said = capsys.readouterr()
    assert said.err.strip()
    assert "Traceback" not in said.err
    assert said.out == ""
    assert sorted(workspace.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "JOB is missing. See nightmail run --help"),
        (("submit", "night.jsonl"), "--provider: a value is missing. See nightmail submit --help"),
        (
            ("plan", "job.yaml", "--date", "2026-11-31"),
            (
                'Invalid value for --date: unable to convert "2026-11-31" into date.'
                " A date is written like 2026-11-30. See nightmail plan --help"
            ),
        ),
        (
            ("run", "job.yaml", "--dat", "x"),
            "Unknown option: --dat. Did you mean --date? See nightmail run --help",
        ),
    ],
)
def test_wrong_words_are_one_line_that_says_what_to_write(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert nightmail(*words) == 2
    assert capsys.readouterr().err == f"nightmail: {said}\n"


@pytest.mark.parametrize("command", ["run", "submit", "stats", "console", "batches"])
def test_help_shows_no_default_that_says_nothing(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert nightmail(command, "--help") == 0
    said = capsys.readouterr().out
    for empty in ("False", '""', "()", "0"):
        assert f"[default: {empty}]" not in said


def test_an_interrupted_run_ends_with_130_and_can_go_on(workspace: Workspace) -> None:
    workspace.faults("status:scheduling:3")
    workspace.change("poll", {"first_seconds": 0.5, "max_seconds": 0.5})
    process = started(workspace, "run", workspace.write(), "--key", "k")
    until(
        lambda: workspace.ledger.latest_run("letters", "k") and any(b.batch_id for b in workspace.batches())
    )
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.strip() == "Interrupted; run the same command again to go on."
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}


def test_the_reader_of_a_pipe_may_leave(workspace: Workspace) -> None:
    process = subprocess.run(
        f"{sys.executable} -m flows.cli.main schema | head -1",
        shell=True, cwd=workspace.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert process.stderr == ""


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert nightmail("--help") == 0
    said = capsys.readouterr().out
    for word in (
        "run",
        "plan",
        "render",
        "check",
        "status",
        "batches",
        "cancel",
        "approve",
        "serve",
        "schema",
        "stats",
        "130",
    ):
        assert word in said
