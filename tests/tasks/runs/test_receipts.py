"""Receipts in the ledger are plain JSON; they come back typed, or as one line that says what to do."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from flows.cli.main import main
from rigs.workspace import Workspace
from tasks.runs.receipts import receipt_of


def store(workspace: Workspace, receipt: dict[str, Any]) -> None:
    """Let the ledger have that receipt of the only run."""
    with sqlite3.connect(workspace.home.ledger_url.removeprefix("sqlite:///")) as ledger:
        ledger.execute("update runs set receipt = ?", [json.dumps(receipt)])
    ledger.close()


def nightmail(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_the_ledger_keeps_what_was_published(workspace: Workspace) -> None:
    written = workspace.run()
    record = workspace.ledger.latest_run("letters", "k")
    assert record.receipt == written
    receipt = receipt_of(record)
    assert receipt is not None
    assert receipt.as_json() == written
    assert (receipt.version, receipt.rows.answered) == (1, 10)


def test_a_run_that_an_earlier_version_finished_is_shown_as_before(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    written = workspace.run()
    store(workspace, {key: value for key, value in written.items() if key != "version"})
    assert workspace.run() == written
    assert workspace.paid() == {"1/1": 1}
    assert nightmail("status", "letters/k", "--json") == 0
    assert json.loads(capsys.readouterr().out)["receipt"] == written
    assert nightmail("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["answered"] == 10


def test_a_receipt_that_cannot_be_read_is_one_line(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    store(workspace, {**workspace.run(), "version": 2})
    assert nightmail("status", "letters/k") != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "letters k: its receipt in the ledger cannot be read (version: Input should be 1)" in line
    assert "if a newer Nightmail wrote it, use that one" in line
