"""The job files, the plan that is shown before anything is posted, and the start."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.home import Home
from configs.request import RunRequest
from rigs.console import Noted, client_of, console_over, form_of
from tasks.ledger.store import Ledger


def test_a_job_file_that_is_wrong_says_what_is(home: Home, job_file: Path) -> None:
    broken = job_file.with_name("broken.yaml")
    broken.write_text(job_file.read_text().replace("gpt-5.4-mini", "[]"))
    client = client_of(console_over(home, job_file, broken))
    page = client.get("/jobs").text
    assert "gpt-5.4-mini" in page
    assert "prompt.model" in page
    assert "prompt.model" in client.get("/jobs/broken.yaml").text


def test_the_plan_comes_before_the_start_and_both_are_of_one_run(home: Home, job_file: Path) -> None:
    noted = Noted()
    console = console_over(home, job_file, actions=noted)
    client = client_of(console)
    page = client.get("/jobs/letters.yaml").text
    assert "Start this run" not in page
    page = client.get("/jobs/letters.yaml?plan=1&limit=5").text
    assert "5 in 2 batches" in page
    assert "Say word" in page
    assert "nightmail run" in page
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page[page.index('method="post"') :]))
    assert form["token"] == console.token
    day = date.fromisoformat(form["date"])  # the day is in the form: it is started after midnight, too
    assert not home.folder.exists()
    assert client.post("/jobs/letters.yaml", data=form).status_code == 200
    assert noted.asked == [("run", RunRequest(str(job_file), date=day, limit=5))]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("date=yesterday", "is no date"),
        ("limit=-1", "is no number of rows"),
        ("limit=" + "9" * 400, "is no number of rows"),
        ("key=a/b", "a/b"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_in_one_line(
    home: Home, job_file: Path, query: str, said: str
) -> None:
    page = client_of(console_over(home, job_file)).get(f"/jobs/letters.yaml?plan=1&{query}").text
    (line,) = re.findall(r'role="alert"><bdi>(.*?)</bdi>', page)
    assert said in line
    assert "Start this run" not in page


def test_a_run_that_is_there_is_named_beside_the_start(
    home: Home, job_file: Path, spec: dict[str, Any]
) -> None:
    ledger = Ledger(home.ledger_url, SystemClock())
    ledger.create_run(
        "r1",
        job="letters",
        key="k",
        generation=1,
        logical_date=date(2026, 11, 21),
        spec=spec,
        identity={},
        folder="letters/k",
    )
    page = client_of(console_over(home, job_file)).get("/jobs/letters.yaml?plan=1&key=k").text
    assert 'There is a run with this key: <a href="/runs/r1">' in page
    assert "goes on with that run" in page


def test_no_file_but_the_listed_ones_can_be_named(home: Home, job_file: Path) -> None:
    noted = Noted()
    console = console_over(home, job_file, actions=noted)
    (job_file.parent / "secret.yaml").write_text(job_file.read_text())
    for name in ("secret.yaml", "..%2fletters.yaml", str(job_file).replace("/", "%2f")):
        client = client_of(console)
        assert client.get(f"/jobs/{name}?plan=1").status_code == 404
        assert client.post(f"/jobs/{name}", data=form_of(console)).status_code == 404
    assert noted.asked == []
