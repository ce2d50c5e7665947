"""Back the ledger up into a folder while runs work, and put it back.

The backup is one SQLite file, whichever database the ledger is in: no program of a database's own is needed for it, and it
goes back into either. What is in run folders, outputs and at the providers is not in it; what a run did since is found there.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import Engine

from configs.clock import Clock
from configs.errors import ConfigError, NightmailError, StorageError
from configs.home import Home
from configs.private_files import make_private_folder
from tasks.ledger import database
from tasks.ledger.copying import copy_all, take_over
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import INACTIVE
from tasks.maintenance.leftovers import unknown_folders
from tasks.storage.atomic import sync_folder

NAME: Final = "ledger.db"


@dataclass(frozen=True)
class Restored:
    """How many runs a restored ledger has, the titles of those that are not finished, and a line for each run folder whose
    run it does not know."""

    runs: int
    unfinished: tuple[str, ...]
    unknown: tuple[str, ...]


def back_up(home: Home, folder: Path) -> int:
    """Write what the ledger holds at this moment to `folder`/ledger.db; how many runs. Durable when this returns.

    ConfigError: there is no ledger, it is not of this version, or the folder has a backup already.
    """
    file = folder / NAME
    if file.exists():
        raise ConfigError(f"{file}: is a backup already, and is not written over; name another folder")
    _check_version(home.ledger_url)
    try:
        make_private_folder(folder)
        # A folder of its own for what SQLite writes beside the file. Removed, or left by a process that was killed.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as name:
            unfinished = Path(name) / NAME
            with database.open_once(f"sqlite:///{unfinished}") as copy:
                runs = copy_all(database.open_database(home.ledger_url), copy)
            with closing(sqlite3.connect(unfinished)) as connection:
                # One file, that can be read where nobody may write.
                connection.execute("PRAGMA journal_mode = DELETE")
            unfinished.rename(file)
            sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{folder}: no backup was written ({error.strerror or error}); make room, or name another folder"
        ) from error
    return runs


def restore(home: Home, folder: Path, clock: Clock) -> Restored:
    """Put the backup in `folder` into the ledger, which must have no runs; an older version's is brought up to date.

    ConfigError: there is no backup, it cannot be read, or the ledger has runs.
    """
    with _opened(folder / NAME) as backup:
        runs = take_over(backup, database.open_database(home.ledger_url), clock.now())
    records = Ledger(home.ledger_url, clock).recent_runs(limit=max(runs, 1))
    unfinished = tuple(record.title for record in reversed(records) if record.state not in INACTIVE)
    return Restored(runs, unfinished, tuple(unknown_folders(home, records)))


def _check_version(url: str) -> None:
    current, newest = database.revisions(url) if database.exists(url) else (None, None)
    if current is None:
        raise ConfigError(
            f"ledger {database.shown(url)}: there is none to back up; NIGHTMAIL_HOME and NIGHTMAIL_LEDGER_URL say where it is"
        )
    if current != newest:
        raise ConfigError(
            f"ledger {database.shown(url)}: is of another version of Nightmail; back it up with that one, or let `nightmail"
            " status` of this one bring it up to date first"
        )


@contextmanager
def _opened(file: Path) -> Iterator[Engine]:
    """A copy of the backup: to open a ledger changes its file."""
    if not file.exists():
        raise ConfigError(f"{file}: there is no such backup; `nightmail backup DIR` makes one")
    with tempfile.TemporaryDirectory(prefix="nightmail-") as name:
        url = f"sqlite:///{Path(name) / NAME}"
        try:
            shutil.copyfile(file, Path(name) / NAME)
            if database.revisions(url)[0] is None:
                raise ConfigError("it is no ledger")
            with database.open_once(url):  # and brought up to date
                pass
        except (NightmailError, OSError) as error:
            raise ConfigError(
                f"{file}: cannot be restored: it is damaged, no backup, or of a newer Nightmail; take another one, or upgrade"
            ) from error
        with database.open_once(url) as engine:
            yield engine
