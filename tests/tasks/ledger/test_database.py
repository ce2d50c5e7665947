"""A ledger that cannot be opened says which and what to do."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from configs.clock import SystemClock
from configs.errors import ConfigError, StorageError
from tasks.ledger import database
from tasks.ledger.database import discard_unused, exists, open_database
from tasks.ledger.store import Ledger
from tasks.ledger.transactions import Transactions


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "check NIGHTMAIL_LEDGER_URL"),
        ("postgresql://user:hunter2@127.0.0.1:1/x", r"cannot be opened|pip install"),
        ("sqlite:////proc/nowhere/ledger.db", "check the path"),
    ],
)
def test_a_ledger_that_cannot_be_opened(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_database(url)
    assert "hunter2" not in str(caught.value)


def test_of_two_that_open_a_new_ledger_at_once_the_second_waits(tmp_path: Path) -> None:
    place = tmp_path / "ledger.db"
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as pool:
        opened = pool.submit(open_database, f"sqlite:///{place}")
        assert not wait([opened], timeout=0.3).done
        other.execute("ROLLBACK")
        assert opened.result(30).dialect.name == "sqlite"


def test_a_ledger_that_another_process_keeps_locked_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0)
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process has kept it locked"):
            open_database(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("these are my notes, not a database, and rather long ones at that " * 50)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="file is not a database"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["a page", "cut"])
def test_a_damaged_database_is_refused_with_what_to_do(tmp_path: Path, damage: str) -> None:
    path, url = tmp_path / "ledger.db", f"sqlite:///{tmp_path / 'ledger.db'}"
    open_database(url).dispose()
    open_database.cache_clear()
    content = path.read_bytes()
    path.write_bytes(
        content[: len(content) // 2] if damage == "cut" else content[:4096] + b"\xff" * 4096 + content[8192:]
    )
    with pytest.raises(
        ConfigError,
        match=r"ledger\.db: is damaged \(.*; stop .*`nightmail console`, move .* away, `nightmail restore` a backup",
    ):
        open_database(url)


def test_damage_that_shows_later_is_the_same_line(tmp_path: Path) -> None:
    path, url = tmp_path / "ledger.db", f"sqlite:///{tmp_path / 'ledger.db'}"
    engine = open_database(url)
    engine.dispose()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 61_440)
    query = sa.select(sa.literal_column("count(*)")).select_from(sa.text("runs"))
    with pytest.raises(ConfigError, match=r"ledger\.db: is damaged"):
        Transactions(engine).read(query)
    with (
        pytest.raises(ConfigError, match=r"ledger\.db: is damaged"),
        Transactions(engine).write() as connection,
    ):
        connection.execute(query)
    open_database.cache_clear()


def test_only_a_ledger_without_runs_is_discarded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    open_database(url)
    discard_unused(url)
    assert list(tmp_path.iterdir()) == []
    Ledger(url, SystemClock()).create_run(
        "r1",
        job="j",
        key="k",
        generation=1,
        logical_date=date(2026, 11, 21),
        spec={},
        identity={},
        folder="j/k",
    )
    discard_unused(url)
    assert Ledger(url, SystemClock()).get_run("r1") is not None


def test_looking_for_a_ledger_does_not_make_one(tmp_path: Path) -> None:
    assert not exists(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert list(tmp_path.iterdir()) == []
