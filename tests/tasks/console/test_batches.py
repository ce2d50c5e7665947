"""The page of batches, and their files as they lay at the provider."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.home import Home
from rigs.console import client_of, console_over, fill
from rigs.workspace import Workspace
from tasks.ledger.store import Ledger
from tasks.runs.chunk_files import requests_name, results_name
from tasks.storage.run_folder import RunFolder, join


def test_files_are_downloaded_byte_for_byte(workspace: Workspace) -> None:
    workspace.faults("row_error:400:t-3,raw_u2028:t-5")
    workspace.run()
    client = client_of(console_over(workspace.home, workspace.job_file))
    folder = RunFolder(join(workspace.home.runs_url, "letters/k"))
    page = client.get("/batches").text
    for file, name in (
        ("requests", requests_name(1, 1)),
        ("results-0", results_name(1, 1, 0)),
        ("results-1", results_name(1, 1, 1)),
    ):
        path = f"/batches/{workspace.run_id}/1/1/{file}"
        assert f'href="{path}"' in page
        answer = client.get(path)
        with folder.read(name) as stored:
            assert answer.content == stored.read()
        assert int(answer.headers["content-length"]) == len(answer.content) > 0
        disposition = answer.headers["content-disposition"]
        assert re.fullmatch(r'attachment; filename="letters-k-00001-[a-z0-9-]+\.jsonl"', disposition)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_is_not_read_for_whoever_only_asks_for_its_size(
    home: Home, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=1)
    with RunFolder(join(home.runs_url, "letters/key-0000")).write(requests_name(1, 1)) as file:
        file.write(b"{}\n")
    monkeypatch.delattr(RunFolder, "read")
    answer = client_of(console_over(home)).head("/batches/run00000/1/1/requests")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "3"


def test_a_file_that_a_batch_has_not_is_not_found(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    ledger = Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=2)
    client = client_of(console_over(home, job_file))
    assert ledger.listing.batch("run00001", 1, 1) is not None
    for path, said in (
        ("run00001/1/1/requests", "`nightmail clean` removed it"),
        ("run00001/1/1/results-7", "no such file"),
        ("run00001/1/1/..%2f..%2fledger.db", "no such page"),
        ("run00001/" + "9" * 30 + "/1/requests", "no such file"),
        ("run00001/1/" + "9" * 5000 + "/requests", "no such file"),
        ("run00001/1.0/1/requests", "no such file"),
        ("run00001/9/1/requests", "no such file"),
        ("none/1/1/requests", "no such run"),
    ):
        answer = client.get(f"/batches/{path}")
        assert answer.status_code == 404, path
        assert said in answer.text, path


def test_a_name_that_others_chose_cannot_leave_the_header(home: Home, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, job='a"; filename=evil.exe\r\nx: y', count=1)
    with RunFolder(join(home.runs_url, "letters/key-0000")).write(requests_name(1, 1)) as file:
        file.write(b"{}\n")
    answer = client_of(console_over(home)).get("/batches/run00000/1/1/requests")
    assert answer.content == b"{}\n"
    saved_as = "a_filename_evil.exe_x_y-key-0000-00001-requests-1.jsonl"
    assert answer.headers["content-disposition"] == f'attachment; filename="{saved_as}"'
    assert "x" not in answer.headers


def test_an_error_is_on_its_row_for_mouse_and_keyboard(home: Home, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=5)
    page = client_of(console_over(home)).get("/batches?status=failed").text
    assert '<details class="why" title="line 3: the model is not known' in page
    assert "<summary><bdi>invalid_request</bdi></summary>" in page


def test_a_page_holds_fifty_and_names_the_next(home: Home, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=12)
    client = client_of(console_over(home))
    first = client.get("/batches?search=letters").text
    assert first.count('<th scope="row">') == 50
    assert "1–50 of 60" in first
    assert 'href="?search=letters&amp;page=2"' in first
    assert client.get("/batches?search=letters&page=2").text.count('<th scope="row">') == 10
