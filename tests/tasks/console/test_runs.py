"""The pages of runs: how they stand, and what becomes of their rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.clock import SystemClock
from configs.home import Home
from rigs.console import client_of, console_over, fill
from rigs.workspace import Workspace
from tasks.ledger.store import Ledger

from .conftest import HOSTILE


def test_a_finished_run_shows_its_report_batches_and_history(workspace: Workspace) -> None:
    workspace.faults("row_error:400:t-3")
    workspace.run()
    client = client_of(console_over(workspace.home, workspace.job_file))
    run = client.get(f"/runs/{workspace.run_id}").text
    assert "9 of 10 rows answered; 1 failed." in run
    assert "context_length_exceeded" in run
    assert re.search(r'<rect x="[\d.]+%" width="[\d.]+%" y="5" height="14" rx="2" class="b-running">', run)
    assert all(f"<strong>{kind}</strong>" in run for kind in ("prepared", "submitted", "merged"))
    assert client.get("/runs/letters%2Fk").status_code == 404  # an id, and no path
    runs = client.get("/runs").text
    assert re.search(r'data-label="Answered">9<', runs)


def test_a_run_under_way_shows_how_far_it_is(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=10)
    client = client_of(console_over(home, job_file))
    page = client.get("/runs/run00009").text
    assert "2,000 of 5,000 rows done, 1,200 of 3,000 requests in open batches answered." in page
    assert 'data-live="5"' in page
    assert "the batch at the provider" in page
    assert "2/5 chunks, 1,200 of 3,000 at the provider" in client.get("/runs?state=running").text


def test_rows_of_a_hostile_dataset_are_text(workspace: Workspace) -> None:
    columns = {"id": [f"<b>{n}</b>" for n in range(4)], "text": [HOSTILE] * 4, HOSTILE[:30]: ["x"] * 4}
    pq.write_table(pa.table(columns), workspace.folder / "rows.parquet")
    workspace.change("prompt.user", "{{ text }}")
    workspace.run()
    client = client_of(console_over(workspace.home, workspace.job_file))
    page = client.get(f"/runs/{workspace.run_id}/rows").text
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 4  # in a column, its name and the answer
    assert "<script>alert" not in page
    assert "<b>" not in page


def test_rows_that_clean_has_removed_are_said_to_be_gone(
    home: Home, job_file: Path, spec: dict[str, Any]
) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=1)
    answer = client_of(console_over(home, job_file)).get("/runs/run00000/rows")
    assert answer.status_code == 200
    assert "The rows cannot be read" in answer.text
