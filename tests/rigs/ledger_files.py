"""The ledger's database as a file: copied as a backup does, put back, deleted, damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.ledger.database import open_database
from tasks.ledger.transactions import Transactions


def let_go(url: str) -> None:
    """Close this process's connections, as its end would."""
    open_database(url).dispose()
    open_database.cache_clear()


def lose(folder: Path) -> None:
    """Delete the ledger of that home."""
    let_go(f"sqlite:///{folder / 'ledger.db'}")
    for path in folder.glob("ledger.db*"):
        path.unlink()


def put_back(backup: Path, folder: Path) -> None:
    """Make a backup the ledger of that home; the process that held the run then is gone."""
    lose(folder)
    (folder / "ledger.db").write_bytes(backup.read_bytes())
    with closing(sqlite3.connect(folder / "ledger.db")) as ledger, ledger:
        ledger.execute("update runs set lease_owner = null, lease_until = null")


@contextmanager
def backups(monkeypatch: pytest.MonkeyPatch, ledger: Path, folder: Path) -> Iterator[dict[str, Path]]:
    """A backup of the ledger at every state of the first chunk that a run comes through, in order, by name."""
    folder.mkdir()
    made: dict[str, Path] = {}
    write = Transactions.write

    @contextmanager
    def write_and_back_up(self: Transactions) -> Iterator[Any]:
        with write(self) as connection:
            yield connection
        with closing(sqlite3.connect(ledger)) as now:
            query = "select r.state, c.state, c.attempt, c.posting from runs r left join chunks c on c.run_id = r.id"
            found = now.execute(query).fetchone()
            name = " ".join(str(word) for word in found or ("no run",) if word is not None)
            if name not in made:
                made[name] = folder / f"{len(made):02d}.db"
                with closing(sqlite3.connect(made[name])) as copy:
                    now.backup(copy)

    with monkeypatch.context() as patched:
        patched.setattr(Transactions, "write", write_and_back_up)
        yield made
