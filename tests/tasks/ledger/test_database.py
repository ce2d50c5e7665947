"""A ledger that cannot be opened says which and what to do."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from configs.errors import ConfigError
from tasks.ledger.database import exists, open_database


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


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("these are my notes, not a database, and rather long ones at that " * 50)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="file is not a database"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_looking_for_a_ledger_does_not_make_one(tmp_path: Path) -> None:
    assert not exists(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert list(tmp_path.iterdir()) == []
