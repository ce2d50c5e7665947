"""The console's pages: what they answer without a ledger, over a full one, and to whoever writes markup into it."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from configs.clock import SystemClock
from configs.home import Home
from rigs.console import Noted, client_of, console_over, fill
from rigs.ledger_files import let_go
from rigs.postgres import MakeDatabase
from tasks.console.paging import SIZE
from tasks.ledger.database import open_database
from tasks.ledger.store import Ledger
from tasks.ledger.transactions import Transactions

from .conftest import HOSTILE

LISTS = ("/runs", "/batches", "/statistics?since=365d", "/jobs", "/budgets")
OF_A_RUN = ("/runs/run00009", "/runs/run00009/rows", "/runs/run00009/cancel", "/batches?run=run00009")
SEARCHES = (
    "/runs?search=key-0001",
    "/runs?page=8",
    "/batches?search=batch_00001&status=failed",
    "/batches?page=40",
)
ODD = (
    "/runs?page=-1",
    "/runs?page=999999999999",
    "/runs?page=x&state=odd",
    "/batches?account=%00&search=%25%27",
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; SQLite makes its journals anew for whoever reads."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if not path.name.endswith(("-wal", "-shm"))}


def test_without_a_ledger_pages_say_that_there_is_nothing_and_make_none(home: Home, job_file: Path) -> None:
    client = client_of(console_over(home, job_file))
    for path in LISTS:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert ('class="empty"' in answer.text) == (path != "/jobs")
    assert client.get("/runs/none").status_code == 404
    assert not home.folder.exists()


def test_a_console_that_only_shows_writes_nothing(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=20)
    client = client_of(console_over(home, job_file))
    client.get("/runs")
    before = contents(home.folder.parent)
    for path in (*LISTS, *OF_A_RUN, *SEARCHES, *ODD):
        answer = client.get(path)
        assert answer.status_code == (403 if path.endswith("/cancel") else 200), answer.text
        assert contents(home.folder.parent) == before, path


def test_markup_in_names_and_errors_is_shown_as_text(
    home: Home, job_file: Path, spec: dict[str, Any]
) -> None:
    Ledger(home.ledger_url, SystemClock())
    spec["source"]["path"] = f"/data/{HOSTILE}.parquet"
    spec["prompt"]["model"] = HOSTILE
    spec["budget"]["day_usd"] = 1.0
    fill(home.ledger_url, spec, job=HOSTILE[:60], count=20, text=HOSTILE)
    broken = job_file.with_name("<img src=x onerror=alert(1)>.yaml")
    broken.write_text(f"name: {HOSTILE!r}\n")
    client = client_of(console_over(home, job_file, broken, actions=Noted()))
    searched = (f"{path}?search={quote(HOSTILE)}" for path in ("/runs", "/batches"))
    for path in (*LISTS, *OF_A_RUN, *searched, f"/jobs/{quote(broken.name)}", f"/runs/{quote(HOSTILE)}"):
        page = client.get(path).text
        assert "alert(1)" in page, path
        assert "<script>alert" not in page, path
        assert "<img" not in page, path
        assert "\x1b" not in page, path


def test_a_ledger_of_another_version_is_left_alone(home: Home, job_file: Path, spec: dict[str, Any]) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=1)
    let_go(home.ledger_url)
    with sqlite3.connect(home.folder / "ledger.db") as ledger:
        ledger.execute("update alembic_version set version_num = '0001'")
    ledger.close()
    answer = client_of(console_over(home, job_file)).get("/runs")
    assert answer.status_code == 200
    assert "run00000" not in answer.text
    assert "The ledger is of another version" in answer.text
    assert "There are no runs yet" not in answer.text
    with sqlite3.connect(home.folder / "ledger.db") as ledger:
        assert ledger.execute("select version_num from alembic_version").fetchone() == ("0001",)


def test_a_ledger_that_is_away_is_said_in_one_line(home: Home, job_file: Path) -> None:
    away = replace(home, ledger_url="postgresql+psycopg://reader:secret@127.0.0.1:9/ledger")
    client = client_of(console_over(away, job_file))
    for path in (*LISTS, "/runs/none", "/metrics"):
        answer = client.get(path)
        assert answer.status_code == 503, path
        assert re.search(r'role="alert"><bdi>ledger postgresql[^<\n]*cannot be ', answer.text), answer.text
        assert "secret" not in answer.text


def test_what_nobody_expected_is_said_in_one_line_under_the_same_policy(home: Home) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, {"name": "letters", "source": "<b>"}, count=1)
    answer = client_of(console_over(home)).get("/runs/run00000")
    assert answer.status_code == 500
    assert "unexpected ValidationError" in answer.text
    assert "<b>" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_page_that_is_not_there_says_so(home: Home) -> None:
    client = client_of(console_over(home))
    for path in (
        "/nowhere",
        "/static/../app.py",
        "/static/%2e%2e%2fapp.py",
        "/jobs/none.yaml",
        "/commands/0",
        "/commands/" + "9" * 5000,
    ):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert "Not Found" not in answer.text, path


def test_a_list_reads_a_page_of_the_ledger_and_not_all_of_it(
    home: Home, job_file: Path, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(home.ledger_url, SystemClock())
    fill(home.ledger_url, spec, count=120)
    client = client_of(console_over(home, job_file))
    read = Transactions.read
    rows: list[int] = []

    def counted(self: Transactions, query: Any) -> Any:
        found = read(self, query)
        rows.append(len(found))
        return found

    monkeypatch.setattr(Transactions, "read", counted)
    for path in ("/runs", "/runs?search=key", "/batches", "/batches?search=key", "/jobs", "/budgets"):
        rows.clear()
        assert client.get(path).status_code == 200
        assert len(rows) <= 6, path  # queries
        assert sum(rows) <= 3 * SIZE + 5, path


def test_a_database_user_that_may_only_read_is_enough(
    home: Home, job_file: Path, spec: dict[str, Any], postgres_url: MakeDatabase
) -> None:
    url = postgres_url()
    Ledger(url, SystemClock())
    fill(url, spec, count=20)
    with open_database(url).begin() as connection:
        for statement in (
            "CREATE ROLE reader LOGIN",
            "GRANT USAGE ON SCHEMA public TO reader",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        ):
            connection.execute(sa.text(statement))
    reader = make_url(url).set(username="reader").render_as_string(hide_password=False)
    client = client_of(console_over(replace(home, ledger_url=reader), job_file))
    for path in (*LISTS, *OF_A_RUN, *SEARCHES, "/metrics"):
        assert client.get(path).status_code == (403 if path.endswith("/cancel") else 200), path
