"""What can be done with a run, by its state; and that it is done as its command does it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from configs.clock import SystemClock
from configs.home import Home
from configs.request import RunRequest
from flows.cli.run import approve_here
from rigs.console import START, Noted, client_of, console_over, fill, form_of
from tasks.console.processes import OnThisMachine
from tasks.ledger.store import Ledger

RUNNING, FINISHED, CANCELLED = "run00009", "run00008", "run00007"


def offered(client: TestClient, run: str) -> list[str]:
    """The actions of the run's page."""
    return re.findall(rf'class="button[^"]*" href="/runs/{run}/(\w+)"', client.get(f"/runs/{run}").text)


def test_a_run_offers_what_its_state_allows(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=10)
    client = client_of(console_over(home, job_file, actions=Noted()))
    assert offered(client, RUNNING) == ["resume", "cancel"]
    assert offered(client, CANCELLED) == ["resume"]
    assert offered(client, FINISHED) == []
    for run, action in (
        (FINISHED, "cancel"),
        (FINISHED, "resume"),
        (CANCELLED, "cancel"),
        (RUNNING, "approve"),
    ):
        assert client.get(f"/runs/{run}/{action}").status_code == 404
    Ledger(home.ledger_url, SystemClock()).claim(RUNNING, "another process", 600, lambda _: False)
    assert offered(client, RUNNING) == ["cancel"]
    without_file = client_of(console_over(home, actions=Noted()))
    assert "another process works on it" in re.sub("<[^>]+>", "", client.get(f"/runs/{RUNNING}").text)
    assert offered(without_file, CANCELLED) == []
    assert "job files is named" in without_file.get(f"/runs/{CANCELLED}").text


def test_an_action_is_confirmed_and_then_done(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    spec["provider"]["name"], spec["prompt"]["model"] = "local", "m"  # as `--provider local --model m` had it
    fill(home.ledger_url, spec, count=10)
    noted = Noted()
    console = console_over(home, job_file, actions=noted)
    client = client_of(console)
    for action in ("cancel", "resume"):
        page = client.get(f"/runs/{RUNNING}/{action}").text
        assert 'method="post"' in page
        assert noted.asked == []
        assert client.post(f"/runs/{RUNNING}/{action}").status_code == 403
        assert client.post(f"/runs/{RUNNING}/{action}", data=form_of(console)).status_code == 200
        assert [name for name, _ in noted.asked] == [action if action == "cancel" else "run"]
        (_, what) = noted.asked.pop()
        day = (START + timedelta(hours=9)).date()
        request = RunRequest(str(job_file), date=day, key="key-0009", provider="local", model="m")
        assert what == (RUNNING if action == "cancel" else request)


def test_a_form_that_is_sent_twice_acts_once(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=10)
    noted = Noted()
    console = console_over(home, job_file, actions=noted)
    client = client_of(console)
    page = client.get(f"/runs/{RUNNING}/cancel").text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    first, second = (client.post(f"/runs/{RUNNING}/cancel", data=form) for _ in range(2))
    assert noted.asked == [("cancel", RUNNING)]
    assert first.history[0].status_code == second.history[0].status_code == 303
    assert first.url == second.url
    assert "noted" in client.get(str(first.url)).text  # and to load it again does nothing
    assert client.post(f"/runs/{RUNNING}/cancel", data={"token": console.token}).status_code == 403
    assert client.get("/done/none").status_code == 404
    assert len(noted.asked) == 1


def test_a_run_that_waits_for_a_person_is_approved(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    ledger = Ledger(home.ledger_url, SystemClock())
    spec["budget"]["approve_above_usd"] = 0.5
    fill(home.ledger_url, spec, count=10)
    actions = OnThisMachine(home.folder / "console", SystemClock(), approve_here)
    console = console_over(home, job_file, actions=actions)
    client = client_of(console)
    assert "approve" not in offered(client, RUNNING)  # no estimate yet
    estimate = {"prompt_tokens": 1, "method": "m", "cost_usd": 1.0, "most_usd": 2.0}
    _estimated(home, RUNNING, estimate)
    assert offered(client, RUNNING)[0] == "approve"
    assert "up to $2.00," in client.get(f"/runs/{RUNNING}").text
    done = client.post(f"/runs/{RUNNING}/approve", data=form_of(console))
    assert "letters key-0009 is approved by" in done.text
    record = ledger.get_run(RUNNING)
    assert record is not None
    assert record.approved_at is not None
    assert "approve" not in offered(client, RUNNING)


def _estimated(home: Home, run_id: str, values: dict[str, Any]) -> None:
    from tasks.ledger.database import open_database
    from tasks.ledger.schema import runs

    with open_database(home.ledger_url).begin() as connection:
        connection.execute(runs.update().where(runs.c.id == run_id).values(estimate=values))
