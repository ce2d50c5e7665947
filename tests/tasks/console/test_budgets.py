"""What is spent, promised and left of budgets, and what is in the queues."""

from __future__ import annotations

import re
from typing import Any

import pytest

from configs.budgets import HouseBudget
from configs.clock import SystemClock
from configs.home import Home
from rigs.console import client_of, console_over, fill
from tasks.ledger.store import Ledger


def test_a_budget_is_split_into_spent_promised_and_left(home: Home, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    spec["budget"]["run_usd"] = 1.0
    fill(home.ledger_url, spec, count=10, reserved_usd=0.1)
    page = client_of(console_over(home)).get("/budgets").text
    cells = dict(reversed(re.findall(r'data-label="([^"]+)">([^<]*)<', page)))  # the first of each
    assert cells["Spent"] == "$0.0842"
    assert cells["Reserved"] == "$0.3000"
    assert cells["Left"] == "$0.6158"
    assert cells["Limit"] == "$1.0000"
    assert "letters key-0009" in page


def test_what_two_jobs_share_is_shown_once(
    home: Home, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = HouseBudget(name="all of it", tokens=10**9, window="rolling-30d")
    monkeypatch.setattr("tasks.runs.budgets.load_budgets", lambda: (everything,))
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=3)
    fill(home.ledger_url, {**spec, "name": "others"}, count=3, first=5)
    page = client_of(console_over(home)).get("/budgets").text
    assert page.count("budget &#39;all of it&#39;</bdi>") == 1
    assert "others, letters" in page


def test_a_queue_shows_what_is_in_it(home: Home, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=10)
    page = client_of(console_over(home)).get("/budgets").text
    assert re.search(r'data-label="Open batches">3<', page)
    assert re.search(r'data-label="Tokens in them">360,000<', page)
