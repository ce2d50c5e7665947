"""`nightmail check`, `status`, `batches` and `schema`: what is only looked at."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from configs.providers.alibaba import AlibabaProvider
from rigs.command_line import nightmail
from rigs.console import fill
from rigs.workspace import Workspace

RUNS = "run,job,key,state,rows,answered,chunks_merged,chunks_total,since,finished_at,held_by,waiting_for"
CHUNKS = "number,first_row,rows,state,attempt,requests,bytes,tokens_estimate,not_before,waiting_for"
BATCHES = (
    "batch,run,chunk,attempt,status,requests,completed,failed,posted,ended,cost,error,submission_key,file,"
    "account,model,lane"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def as_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(("command", "columns"), [("status", RUNS), ("batches", BATCHES)])
def test_without_a_ledger_a_table_has_its_columns_and_no_row(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], command: str, columns: str
) -> None:
    assert nightmail(command, "--csv") == 0
    assert capsys.readouterr().out == columns + "\n"
    assert nightmail(command, "--markdown") == 0
    assert capsys.readouterr().out.startswith(f"| {columns.replace(',', ' | ')} |\n| --- |")
    assert not (workspace.folder / "home").exists()


@pytest.mark.parametrize(
    ("words", "columns", "expected", "times"),
    [
        (
            ("status",),
            RUNS,
            {
                "key": "k",
                "state": "finished",
                "rows": "10",
                "answered": "9",
                "chunks_merged": "3",
                "held_by": "",
            },
            ("since", "finished_at"),
        ),
        (
            ("status", "letters/k"),
            CHUNKS,
            {"number": "1", "rows": "4", "state": "merged", "requests": "4", "waiting_for": ""},
            (),
        ),
        (
            ("batches", "--search", "letters/k"),
            BATCHES,
            {
                "run": "letters/k",
                "chunk": "3",
                "status": "completed",
                "requests": "2",
                "cost": "",
                "error": "",
            },
            ("posted", "ended"),
        ),
    ],
    ids=["runs", "chunks", "batches"],
)
def test_csv_has_stable_columns_plain_numbers_utc_times_and_empty_nulls(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    columns: str,
    expected: dict[str, str],
    times: tuple[str, ...],
) -> None:
    workspace.change("limits.max_requests", 4)
    workspace.faults("row_error:400:t-3")
    workspace.run()
    assert nightmail(*words, "--csv") == 0
    text = capsys.readouterr().out
    assert text.split("\n")[0] == columns
    row = as_rows(text)[0]
    assert {name: row[name] for name in expected} == expected
    assert all(_TIME.fullmatch(row[name]) for name in times)
    assert nightmail(*words, "--markdown") == 0
    header, _, first = capsys.readouterr().out.split("\n")[:3]
    assert header == f"| {columns.replace(',', ' | ')} |"
    assert first == f"| {' | '.join(row.values())} |"


def test_csv_and_json_tell_the_same_of_every_run(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run()
    workspace.run(key="again")
    assert nightmail("status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert nightmail("status", "--csv") == 0
    rows = as_rows(capsys.readouterr().out)
    assert [row["run"] for row in rows] == [run["run"] for run in told]
    for name in ("job", "key", "state", "rows", "answered", "chunks_merged", "chunks_total"):
        assert [row[name] for row in rows] == [str(run[name]) for run in told]


def test_two_formats_at_once_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert nightmail("status", "--json", "--markdown") == 2
    assert capsys.readouterr().err == "nightmail: --json and --markdown: give one of them\n"


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
        (
            "alibaba",
            [("a", _CHAT, ',"x":"' + "x" * (AlibabaProvider.limits.max_line_bytes or 0) + '"')],
            "line_too_large",
        ),
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


def test_status_and_batches_tell_what_the_ledger_knows(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nightmail("status") == 0
    assert nightmail("batches", "--json") == 0
    assert not (workspace.folder / "home").exists()
    workspace.run()
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


def test_a_search_finds_batches_of_any_age_and_says_how_many_there_are(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workspace.all_batches() == []  # makes the ledger
    fill(workspace.home.ledger_url, {"name": "letters"}, count=30, text="full")
    assert nightmail("batches", "--json") == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 100
    assert "the newest 100 of 150 batches; --search TEXT finds older ones" in said.err
    assert nightmail("batches", "--search", "batch_00000", "--json") == 0  # of the first run
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 5
    assert said.err == ""
    assert nightmail("status", "--json") == 0
    assert [run["key"] for run in json.loads(capsys.readouterr().out)] == [
        f"key-{number:04d}" for number in range(29, 9, -1)
    ]


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ((), {"source", "prompt", "output"}),
        (("job",), {"source", "prompt", "output"}),
        (("receipt",), {"version", "rows", "cost_usd"}),
        (("plan",), {"version", "requests", "estimate"}),
        (("stats",), {"version", "total", "groups", "days"}),
    ],
)
def test_schema_is_json_schema(
    capsys: pytest.CaptureFixture[str], kind: tuple[str, ...], keys: set[str]
) -> None:
    assert nightmail("schema", *kind) == 0
    assert keys <= set(json.loads(capsys.readouterr().out)["properties"])


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("words", [("status",), ("batches",), ("status", "letters/2026-11-21")])
def test_what_people_copy_is_in_one_piece_on_every_terminal(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    words: tuple[str, ...],
) -> None:
    workspace.run(key="2026-11-21")
    run = workspace.ledger.latest_run("letters", "2026-11-21")
    assert run is not None
    batch = workspace.ledger.batches(run.id)[0].batch_id
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": str(width)}.items():
        monkeypatch.setenv(name, value)
    assert nightmail(*words) == 0
    printed = capsys.readouterr().out
    copied = {
        "batches": [batch, "letters/2026-11-21"],
        "status": [run.id, "letters", "2026-11-21", "finished"],
    }
    assert [text for text in copied[words[0]] if text not in printed] == []
    table = [line for line in printed.split("\n") if not line.startswith(("output ", "report "))]
    if len(words) == 1:
        assert max(map(len, table)) <= width
