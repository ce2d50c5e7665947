"""`nightmail …` as a person or a script meets it: exit codes, one-line errors, data on stdout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from flows.cli.main import main

ROOT = Path(__file__).resolve().parents[3]


def nightmail(*words: str) -> int:
    """The command's exit code, as the console script would end."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def started(works: Any, *words: str) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *words],
        cwd=works.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # CI may ignore it
    )


def until(seen: Any, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_run_prints_its_receipt_and_ends_with_0(works: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert nightmail("run", works.write(), "--key", "k") == 0
    said = capsys.readouterr()
    assert "letters k: 10 rows (10 succeeded)" in said.out
    assert "1 posted for 1 chunk" in said.out


def test_a_finished_run_says_so(works: Any, capsys: pytest.CaptureFixture[str]) -> None:
    nightmail("run", works.write(), "--key", "k")
    capsys.readouterr()
    assert nightmail("run", works.write(), "--key", "k") == 0
    said = capsys.readouterr()
    assert "finished before; nothing was posted. --redo does it again" in said.err
    assert "10 succeeded" in said.out


def test_unanswered_rows_end_with_1(works: Any, capsys: pytest.CaptureFixture[str]) -> None:
    works.faults("row_error:400:t-3")
    assert nightmail("run", works.write(), "--key", "k", "--json") == 1
    assert json.loads(capsys.readouterr().out)["rows"] == {"total": 10, "succeeded": 9, "failed": 1}


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
        ("check", "nowhere.jsonl"),
    ],
)
def test_wrong_usage_ends_with_2_says_why_and_writes_nothing(
    works: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    works.write()
    before = sorted(works.folder.rglob("*"))
    assert nightmail(*words) == 2
    said = capsys.readouterr()
    assert said.err.strip()
    assert "Traceback" not in said.err
    assert said.out == ""
    assert sorted(works.folder.rglob("*")) == before


def test_plan_shows_the_first_prompt_and_writes_nothing(
    works: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    works.write()
    before = sorted(works.folder.rglob("*"))
    assert nightmail("plan", str(works.job_file), "--limit", "3") == 0
    said = capsys.readouterr().out
    assert "3 rows → 1 batch at openai" in said
    assert "Say word 0" in said
    assert sorted(works.folder.rglob("*")) == before


def test_plan_shows_a_sample_of_rows_with_their_prompts_and_writes_nothing(
    works: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    works.source(3, text=["one\ntwo\tthree", "x" * 500, "日本"])
    works.write()
    before = sorted(works.folder.rglob("*"))
    assert nightmail("plan", str(works.job_file), "--sample", "2") == 0
    header, first, second, blank, plan = capsys.readouterr().out.split("\n")[:5]
    assert header.split("\t") == ["id", "text", "custom_id", "prompt"]
    assert first.split("\t") == ["t-0", "one two three", "t-0", "Say one two three"]
    assert second.endswith("x…")
    assert blank == ""
    assert "3 rows → 1 batch" in plan
    assert sorted(works.folder.rglob("*")) == before


def test_on_a_terminal_a_sample_is_a_line_a_row_and_no_wider_than_that(
    works: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    works.source(2, text=["[bold]x[/bold] " * 50, "short"])
    assert nightmail("plan", works.write(), "--sample", "2") == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    header, first, second, blank = plain.split("\n")[:4]
    assert header.split() == ["id", "text", "custom_id", "prompt"]
    assert first.split()[:2] == ["t-0", "[bold]x[/bo…"]
    assert second.split() == ["t-1", "short", "t-1", "Say", "short"]
    assert blank == ""
    assert max(len(line) for line in (header, first, second)) <= 60


def test_options_change_the_job_and_set_wins(works: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--provider", "alibaba", "--model", "other", "--limit", "5", "--set", "source.limit=2")
    assert nightmail("plan", works.write(), *words, "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["provider"], plan["model"], plan["rows"]) == ("alibaba", "other", 2)
    assert nightmail("render", works.write(), "--model", "other", "--out", str(works.folder / "files")) == 0
    (path,) = capsys.readouterr().out.split()
    assert json.loads(Path(path).read_text().splitlines()[0])["body"]["model"] == "other"


def test_render_writes_files_that_check_accepts(works: Any, capsys: pytest.CaptureFixture[str]) -> None:
    works.change("limits.max_requests", 4)
    out = works.folder / "files"
    assert nightmail("render", works.write(), "--out", str(out)) == 0
    printed = capsys.readouterr().out.split()
    assert [Path(path).name for path in printed] == [f"requests-0000{n}.jsonl" for n in (1, 2, 3)]
    assert sum(path.read_bytes().count(b"\n") for path in out.iterdir()) == 10
    for path in printed:
        assert nightmail("check", path) == 0
    assert nightmail("render", works.write(), "--out", str(out)) == 2


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        (b"not json\n", 1, "invalid_json_line"),
        (b"", None, "empty_file"),
        (
            b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}\n',
            1,
            "body.messages",
        ),
    ],
)
def test_check_names_the_lines_at_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, line: int | None, code: str
) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_bytes(text)
    assert nightmail("check", str(path), "--provider", "openai") == 2
    said = capsys.readouterr().out
    assert code in said
    assert (f"line {line}:" if line else "file:") in said


_FITS = '{"custom_id":"%s","method":"POST","url":"%s","body":{"model":"m","messages":[],"input":"x"%s}}'
_CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("provider", "lines", "code"),
    [
        ("alibaba", [("a", _CHAT, ""), ("b", _CHAT, "")], None),
        ("alibaba", [("a", "/v1/chat/ds-test", "")], None),
        ("alibaba", [("a", "/v1/responses", "")], "invalid_url"),
        (
            "alibaba",
            [("a", _CHAT, ""), ("b", _CHAT, ',"enable_thinking":true')],
            "mismatched_enable_thinking",
        ),
        ("alibaba", [("a", _CHAT, ',"x":"' + "x" * 6_000_000 + '"')], "line_too_large"),
        ("openai", [("a", _CHAT, ""), ("b", _CHAT, ',"enable_thinking":true')], None),
        ("azure", [("a", "/v1/responses", "")], None),
        ("azure", [("a", "/v1/embeddings", "")], "invalid_url"),
    ],
)
def test_check_knows_the_rules_of_each_provider(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    provider: str,
    lines: list[tuple[str, ...]],
    code: str | None,
) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text("".join(_FITS % line + "\n" for line in lines))
    assert nightmail("check", str(path), "--provider", provider) == (2 if code else 0)
    said = capsys.readouterr().out
    assert code is None or f": {code}: " in said


@pytest.mark.parametrize("provider", ["gemini", "nobody"])
def test_check_names_the_providers_whose_lines_it_knows(
    works: Any, capsys: pytest.CaptureFixture[str], provider: str
) -> None:
    assert nightmail("check", works.write(), "--provider", provider) == 2
    assert f"--provider {provider}: is not known here; allowed: local, openai, " in capsys.readouterr().err


def test_status_and_batches_tell_what_the_ledger_knows(
    works: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nightmail("status") == 0
    assert nightmail("batches", "--json") == 0
    assert not (works.folder / "home").exists()
    works.run()
    capsys.readouterr()
    assert nightmail("status", "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["job"], run["key"], run["state"], run["answered"]) == ("letters", "k", "finished", 10)
    for name in (run["run"], "letters/k"):
        assert nightmail("status", name, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["history"][0]["kind"] == "prepared"
    assert nightmail("batches", "--search", "LETTERS/k", "--json") == 0
    assert [batch["status"] for batch in json.loads(capsys.readouterr().out)] == ["completed"]
    assert nightmail("batches", "--search", "nothing like it", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert nightmail("status", "letters/k") == 0
    assert nightmail("batches") == 0


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ((), {"source", "prompt", "output"}),
        (("job",), {"source", "prompt", "output"}),
        (("receipt",), {"version", "rows", "cost_usd"}),
        (("plan",), {"version", "requests", "estimate"}),
    ],
)
def test_schema_is_json_schema(
    capsys: pytest.CaptureFixture[str], kind: tuple[str, ...], keys: set[str]
) -> None:
    assert nightmail("schema", *kind) == 0
    assert keys <= set(json.loads(capsys.readouterr().out)["properties"])


@pytest.mark.parametrize(("command", "kind"), [("run", "receipt"), ("plan", "plan")])
def test_what_is_printed_as_json_satisfies_its_schema(
    works: Any, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    nightmail("schema", kind)
    schema = json.loads(capsys.readouterr().out)
    assert nightmail(command, works.write(), "--key", "k", "--json") == 0
    jsonschema_rs.validator_for(schema).validate(json.loads(capsys.readouterr().out))


def test_a_killed_run_goes_on_where_it_was_and_pays_once(works: Any) -> None:
    works.source(300)
    works.change("limits.max_requests", 100)
    works.faults("status:scheduling:3")
    process = started(works, "run", works.write(), "--key", "k")
    until(lambda: works.ledger.latest_run("letters", "k") and any(b.batch_id for b in works.batches()))
    process.kill()
    process.wait()
    receipt = works.run()
    assert receipt["rows"] == {"total": 300, "succeeded": 300}
    assert works.paid() == {"1/1": 1, "2/1": 1, "3/1": 1}


def test_an_interrupted_run_ends_with_130_and_can_go_on(works: Any) -> None:
    works.faults("status:scheduling:3")
    works.change("poll", {"first_seconds": 0.5, "max_seconds": 0.5})
    process = started(works, "run", works.write(), "--key", "k")
    until(lambda: works.ledger.latest_run("letters", "k") and any(b.batch_id for b in works.batches()))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert said.strip() == "Interrupted; run the same command again to go on."
    assert works.run()["rows"] == {"total": 10, "succeeded": 10}


def test_a_second_runner_of_the_same_run_leaves_with_3(
    works: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from configs.clock import SystemClock
    from configs.home import Home
    from configs.request import RunRequest
    from tasks.providers.registry import connect
    from tasks.runs.request import resolve_request
    from tasks.runs.session import open_run

    clock = SystemClock()
    request = RunRequest(works.write(), key="k")
    resolved = resolve_request(request, Home.from_environment(os.environ), clock)
    with open_run(resolved, connect(resolved.job.provider, works.home, os.environ), works.home, clock):
        assert nightmail("run", str(works.job_file), "--key", "k") == 3
    assert "is working on this run" in capsys.readouterr().err


def test_a_cancelled_run_stops_paying_and_goes_on_later(
    works: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    works.faults("stuck:in_progress*1")
    process = started(works, "run", works.write(), "--key", "k")
    until(lambda: works.ledger.latest_run("letters", "k") and any(b.batch_id for b in works.batches()))
    assert nightmail("cancel", "letters/k") == 0
    assert "is being cancelled" in capsys.readouterr().out
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "cancelled, or taken over" in said
    (batch,) = works.batches()
    until(lambda: works.service.client().batches.retrieve(batch.batch_id).status == "cancelled")
    assert works.run()["rows"] == {"total": 10, "succeeded": 10}
    assert works.paid() == {"1/1": 1, "1/2": 1}


def test_the_reader_of_a_pipe_may_leave(works: Any) -> None:
    process = subprocess.run(
        f"{sys.executable} -m flows.cli.main schema | head -1",
        shell=True, cwd=works.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert process.stderr == ""


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert nightmail("--help") == 0
    said = capsys.readouterr().out
    for word in ("run", "plan", "render", "check", "status", "batches", "cancel", "serve", "schema", "130"):
        assert word in said
