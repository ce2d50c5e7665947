"""`nightmail run`, `plan`, `render` and `cancel` as a person or a script meets them."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import jsonschema_rs
import pytest

from rigs.command_line import nightmail, started, until
from rigs.workspace import Workspace


def test_a_run_prints_its_receipt_and_ends_with_0(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nightmail("run", workspace.write(), "--key", "k") == 0
    said = capsys.readouterr()
    assert "letters k: 10 rows (10 succeeded)" in said.out
    assert "1 posted for 1 chunk" in said.out


def test_a_finished_run_says_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    nightmail("run", workspace.write(), "--key", "k")
    capsys.readouterr()
    assert nightmail("run", workspace.write(), "--key", "k") == 0
    said = capsys.readouterr()
    assert "finished before; nothing was posted. --redo does it again" in said.err
    assert "10 succeeded" in said.out


def test_unanswered_rows_end_with_1(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.faults("row_error:400:t-3")
    assert nightmail("run", workspace.write(), "--key", "k", "--json") == 1
    assert json.loads(capsys.readouterr().out)["rows"] == {"total": 10, "succeeded": 9, "failed": 1}


def test_plan_shows_the_first_prompt_and_writes_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write()
    before = sorted(workspace.folder.rglob("*"))
    assert nightmail("plan", str(workspace.job_file), "--limit", "3") == 0
    said = capsys.readouterr().out
    assert "3 rows → 1 batch at openai" in said
    assert "Say word 0" in said
    assert sorted(workspace.folder.rglob("*")) == before


def test_plan_shows_a_sample_of_rows_with_their_prompts_and_writes_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.source(3, text=["one\ntwo\tthree", "x" * 500, "日本"])
    workspace.write()
    before = sorted(workspace.folder.rglob("*"))
    assert nightmail("plan", str(workspace.job_file), "--sample", "2") == 0
    header, first, second, blank, plan = capsys.readouterr().out.split("\n")[:5]
    assert header.split("\t") == ["id", "text", "custom_id", "prompt"]
    assert first.split("\t") == ["t-0", "one two three", "t-0", "Say one two three"]
    assert second.endswith("x…")
    assert blank == ""
    assert "3 rows → 1 batch" in plan
    assert sorted(workspace.folder.rglob("*")) == before


def test_on_a_terminal_a_sample_is_a_line_a_row_and_no_wider_than_that(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    workspace.source(2, text=["[bold]x[/bold] " * 50, "short"])
    assert nightmail("plan", workspace.write(), "--sample", "2") == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    header, first, second, blank = plain.split("\n")[:4]
    assert header.split() == ["id", "text", "custom_id", "prompt"]
    assert first.split()[:2] == ["t-0", "[bold]x[/bo…"]
    assert second.split() == ["t-1", "short", "t-1", "Say", "short"]
    assert blank == ""
    assert max(len(line) for line in (header, first, second)) <= 60


def test_options_change_the_job_and_set_wins(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--provider", "alibaba", "--model", "other", "--limit", "5", "--set", "source.limit=2")
    assert nightmail("plan", workspace.write(), *words, "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["provider"], plan["model"], plan["rows"]) == ("alibaba", "other", 2)
    assert (
        nightmail("render", workspace.write(), "--model", "other", "--out", str(workspace.folder / "files"))
        == 0
    )
    (path,) = capsys.readouterr().out.split()
    assert json.loads(Path(path).read_text().splitlines()[0])["body"]["model"] == "other"


def test_render_writes_files_that_check_accepts(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.change("limits.max_requests", 4)
    out = workspace.folder / "files"
    assert nightmail("render", workspace.write(), "--out", str(out)) == 0
    printed = capsys.readouterr().out.split()
    assert [Path(path).name for path in printed] == [f"requests-0000{n}.jsonl" for n in (1, 2, 3)]
    assert sum(path.read_bytes().count(b"\n") for path in out.iterdir()) == 10
    for path in printed:
        assert nightmail("check", path) == 0
    assert nightmail("render", workspace.write(), "--out", str(out)) == 2


@pytest.mark.parametrize("provider", ["gemini", "nobody"])
def test_check_names_the_providers_whose_lines_it_knows(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], provider: str
) -> None:
    assert nightmail("check", workspace.write(), "--provider", provider) == 2
    assert f"--provider {provider}: is not known; allowed: local, openai, " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("command", "kind"), [("run", "receipt"), ("plan", "plan")])
def test_what_is_printed_as_json_satisfies_its_schema(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    nightmail("schema", kind)
    schema = json.loads(capsys.readouterr().out)
    assert nightmail(command, workspace.write(), "--key", "k", "--json") == 0
    jsonschema_rs.validator_for(schema).validate(json.loads(capsys.readouterr().out))


def test_a_killed_run_goes_on_where_it_was_and_pays_once(workspace: Workspace) -> None:
    workspace.source(300)
    workspace.change("limits.max_requests", 100)
    workspace.faults("status:scheduling:3")
    process = started(workspace, "run", workspace.write(), "--key", "k")
    until(
        lambda: workspace.ledger.latest_run("letters", "k") and any(b.batch_id for b in workspace.batches())
    )
    process.kill()
    process.wait()
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 300, "succeeded": 300}
    assert workspace.paid() == {"1/1": 1, "2/1": 1, "3/1": 1}


def test_a_second_runner_of_the_same_run_leaves_with_3(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    from configs.clock import SystemClock
    from configs.home import Home
    from configs.request import RunRequest
    from tasks.providers.registry import connect
    from tasks.runs.opening import open_run
    from tasks.runs.request import resolve_request

    clock = SystemClock()
    request = RunRequest(workspace.write(), key="k")
    resolved = resolve_request(request, Home.from_environment(os.environ), clock)
    with open_run(
        resolved, connect(resolved.job.provider, workspace.home, os.environ), workspace.home, clock
    ):
        assert nightmail("run", str(workspace.job_file), "--key", "k") == 3
    assert "is working on this run" in capsys.readouterr().err


def test_a_cancelled_run_stops_paying_and_goes_on_later(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.faults("stuck:in_progress*1")
    process = started(workspace, "run", workspace.write(), "--key", "k")
    until(
        lambda: workspace.ledger.latest_run("letters", "k") and any(b.batch_id for b in workspace.batches())
    )
    assert nightmail("cancel", "letters/k") == 0
    assert "is being cancelled" in capsys.readouterr().out
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "cancelled, or taken over" in said
    (batch,) = workspace.batches()
    until(lambda: workspace.service.client().batches.retrieve(batch.batch_id).status == "cancelled")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1, "1/2": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "code", "said"),
    [
        ("publish", 130, "Interrupted; run the same command again to go on.\n"),
        ("publish_receipt", 0, ""),  # right after the end: the ledger knows that the run is finished
    ],
)
def test_an_interrupt_tells_whether_the_run_was_finished(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    code: int,
    said: str,
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"tasks.enrich.{place}", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert nightmail("run", workspace.write(), "--key", "k") == code
    printed = capsys.readouterr()
    assert printed.err == said
    assert ("letters k: 10 rows (10 succeeded)" in printed.out) is (code == 0)
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupts_without_end_after_the_end_change_nothing(workspace: Workspace) -> None:
    process = started(workspace, "run", workspace.write(), "--key", "k")
    until(
        lambda: (
            (run := workspace.ledger.latest_run("letters", "k")) is not None and run.finished_at is not None
        )
    )
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
    printed, said = process.communicate()
    assert (process.returncode, said) == (0, "")
    assert "letters k: 10 rows (10 succeeded)" in printed
