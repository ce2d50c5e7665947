"""`status` and `batches` for programs and pages: CSV and Markdown of what the ledger knows."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from flows.cli.main import main

RUNS = "run,job,key,state,rows,answered,chunks_merged,chunks_total,since,finished_at,held_by,waiting_for"
CHUNKS = "number,first_row,rows,state,attempt,requests,bytes,tokens_estimate,not_before,waiting_for"
BATCHES = (
    "batch,run,chunk,attempt,status,requests,completed,failed,posted,ended,cost,error,submission_key,file,"
    "account,model"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def nightmail(*words: str) -> int:
    """The command's exit code, as the console script would end."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def as_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(("command", "columns"), [("status", RUNS), ("batches", BATCHES)])
def test_without_a_ledger_a_table_has_its_columns_and_no_row(
    works: Any, capsys: pytest.CaptureFixture[str], command: str, columns: str
) -> None:
    assert nightmail(command, "--csv") == 0
    assert capsys.readouterr().out == columns + "\n"
    assert nightmail(command, "--markdown") == 0
    assert capsys.readouterr().out.startswith(f"| {columns.replace(',', ' | ')} |\n| --- |")
    assert not (works.folder / "home").exists()


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
    works: Any,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    columns: str,
    expected: dict[str, str],
    times: tuple[str, ...],
) -> None:
    works.change("limits.max_requests", 4)
    works.faults("row_error:400:t-3")
    works.run()
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


def test_csv_and_json_tell_the_same_of_every_run(works: Any, capsys: pytest.CaptureFixture[str]) -> None:
    works.run()
    works.run(key="again")
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
