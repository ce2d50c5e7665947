"""Which run needs a person, why, and what to press: on the list, and on the run's own page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.home import Home
from rigs.console import client_of, console_over, fill
from rigs.workspace import Workspace
from tasks.ledger.database import open_database
from tasks.ledger.schema import chunks, runs
from tasks.ledger.store import Ledger

OPEN = "run00009"
# All times are from now: the suite may begin long before the test does.
NOW, LATER = timedelta(0), timedelta(hours=9)
LONG_AGO, JUST_NOW = timedelta(minutes=-20), timedelta(minutes=-5)
PRICE = {"prompt_tokens": 1, "method": "m", "cost_usd": 1.0, "most_usd": 2.0}


@pytest.mark.parametrize(
    ("of_run", "next_look", "do", "why"),
    [
        ({}, LATER, None, "looks in"),
        ({}, LONG_AGO, "Resume", "it is due, and no process works on it"),
        ({}, JUST_NOW, None, "is due"),  # a worker may be on its way
        ({"lease_owner": "elsewhere", "lease_until": LATER}, LONG_AGO, None, "works now"),
        ({"lease_owner": "elsewhere", "lease_until": JUST_NOW}, LONG_AGO, None, "is due"),
        (
            {"paused_until": LATER, "pause_reason": "not paid"},
            LONG_AGO,
            "Check the account, then resume",
            "not paid",
        ),
        (
            {"paused_until": JUST_NOW, "pause_reason": "not paid"},
            LONG_AGO,
            None,
            "is due",
        ),
        ({"estimate": PRICE}, LONG_AGO, "Approve or cancel", "up to $2.00"),
        ({"estimate": PRICE, "approved_at": NOW}, LONG_AGO, "Resume", "it is due"),
    ],
)
def test_an_open_run_says_what_it_needs(
    home: Home,
    job_file: Path,
    spec: dict[str, Any],
    of_run: dict[str, Any],
    next_look: timedelta,
    do: str,
    why: str,
) -> None:
    Ledger(home.ledger_url, SystemClock())
    spec["budget"]["approve_above_usd"] = 0.5
    fill(home.ledger_url, spec, count=10)
    now = datetime.now(UTC)
    values = {name: now + value if isinstance(value, timedelta) else value for name, value in of_run.items()}
    with open_database(home.ledger_url).begin() as connection:
        connection.execute(runs.update().where(runs.c.id == OPEN).values(created_at=now + LONG_AGO, **values))
        connection.execute(chunks.update().where(chunks.c.run_id == OPEN).values(not_before=now + next_look))
    client = client_of(console_over(home, job_file))
    page = client.get("/runs").text
    (cell,) = re.findall(r'data-label="Next">(?!–)(.*?)</td>', page)
    assert why in cell
    for text in (cell, client.get(f"/runs/{OPEN}").text):
        assert re.findall(r'class="need">(.*?)<', text) == ([do] if do else [])
    assert ("1 of these runs needs a person" in page) == (do is not None)


def test_a_finished_run_needs_a_person_when_more_rows_lack_an_answer_than_it_allows(
    workspace: Workspace,
) -> None:
    workspace.faults("row_error:400:t-3,row_error:500:t-4*9")
    client = client_of(console_over(workspace.home, workspace.job_file))
    for allowed, need in ((0.5, []), (0.1, ["Retry"])):
        workspace.change("run.error_budget", allowed)
        workspace.run(redo=True)
        page = client.get("/runs").text
        assert '<small class="mixed">2 without an answer</small>' in page
        assert re.findall(r'class="need">(.*?)<', page) == need
    page = client.get(f"/runs/{workspace.run_id}").text
    assert "1 row is posted again, and paid for. 1 more without an answer would fail in the same way." in page
    assert "mixed" in client.get("/jobs").text
