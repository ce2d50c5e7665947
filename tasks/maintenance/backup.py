"""Back the ledger up into a folder while runs work, and put it back.

The backup is one SQLite file, whichever database the ledger is in: no program of a database's own is needed for it, and it
goes back into either. What is in run folders, outputs and at the providers is not in it; what a run did since is found there.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine, ExceptionContext

from configs.clock import Clock
from configs.errors import ConfigError, NightmailError, StorageError
from configs.home import Home
from configs.private_files import make_private_folder
from tasks.ledger import database
from tasks.ledger.copying import copy_all, take_over
from tasks.ledger.reading import query_runs
from tasks.ledger.schema import runs as runs_table
from tasks.ledger.transactions import Transactions
from tasks.ledger.transitions import INACTIVE
from tasks.maintenance.leftovers import unknown_folders
from tasks.storage.atomic import sync_folder

NAME: Final = "ledger.db"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Restored:
    """How many runs a restored ledger has, the titles of those that are not finished, and a line for each run folder whose
    run it does not know."""

    runs: int
    unfinished: tuple[str, ...]
    unknown: tuple[str, ...]


def back_up(home: Home, folder: Path) -> int:
    """Write what the ledger holds at this moment to `folder`/ledger.db; how many runs. Durable when this returns.

    ConfigError: there is no ledger, it is not of this version, or the folder has a backup already. StorageError: the folder
    has no room, or may not be written.
    """
    _check_version(home.ledger_url)
    file = folder / NAME
    try:
        if file.exists():
            raise ConfigError(f"{file}: is a backup already, and is not written over; name another folder")
        make_private_folder(folder)
        # A folder of its own for what SQLite writes beside the file. Removed, or left by a process that was killed.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as name:
            unfinished = Path(name) / NAME
            with _new_ledger(unfinished, folder) as copy:
                runs = copy_all(database.open_database(home.ledger_url), copy)
            with closing(sqlite3.connect(unfinished)) as connection:
                # One file, that can be read where nobody may write.
                connection.execute("PRAGMA journal_mode = DELETE")
            unfinished.rename(file)
            sync_folder(folder)
    except (OSError, sqlite3.Error) as error:
        raise _not_written(folder, error) from error
    return runs


def restore(home: Home, folder: Path, clock: Clock) -> Restored:
    """Put the backup in `folder` into the ledger, which must have no runs; an older version's is brought up to date.

    The folder may also be one to which a SQLite ledger was moved, with its write-ahead log. ConfigError: there is no backup,
    it cannot be read, or the ledger has runs. StorageError: the run folders cannot be reached, or there is no room.
    """
    with _opened(folder / NAME) as backup:
        records = query_runs(Transactions(backup), runs_table.select().order_by(runs_table.c.created_at))
        # First: once the ledger has the runs, a second call that could name the folders is refused.
        unknown = tuple(unknown_folders(home, records))
        runs = take_over(backup, database.open_database(home.ledger_url), clock.now())
    unfinished = tuple(record.title for record in records if record.state not in INACTIVE)
    return Restored(runs, unfinished, unknown)


@contextmanager
def _new_ledger(file: Path, folder: Path) -> Iterator[Engine]:
    """An empty ledger in a file of the backup's `folder`, whose errors name that, and not the ledger that is read meanwhile."""

    def named(context: ExceptionContext) -> StorageError | None:
        error = context.original_exception  # also KeyboardInterrupt
        return _not_written(folder, error) if isinstance(error, sqlite3.Error) else None

    with ExitStack() as stack:
        try:
            engine = stack.enter_context(database.open_once(f"sqlite:///{file}"))
        except NightmailError as error:
            raise _not_written(folder, error) from error
        sa.event.listen(engine, "handle_error", named)
        yield engine


def _not_written(folder: Path, error: BaseException) -> StorageError:
    return StorageError(
        f"{folder}: no backup was written ({_reason(error)}); make room, or name another folder"
    )


def _reason(error: BaseException) -> str:
    """What the system or SQLite said first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "strerror", None) or str(error)


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
    """A copy of the backup, with what a write-ahead log beside it holds: to open a ledger changes its files."""
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nightmail-")))
            _copy(file, folder / NAME)
            log = file.with_name(f"{NAME}-wal")
            if log.exists():
                _copy(log, folder / log.name)
            engine = stack.enter_context(_up_to_date(folder / NAME, file))
        except (OSError, StorageError) as error:
            where = f"temporary folder {tempfile.tempdir}" if tempfile.tempdir else "temporary folder"
            raise StorageError(
                f"{where}: the backup cannot be copied there ({_reason(error)}), and nothing was restored; make room, or let"
                " TMPDIR name another folder"
            ) from error
        yield engine


def _copy(source: Path, target: Path) -> None:
    """ConfigError: the source cannot be read. OSError: the target cannot be written."""
    with target.open("wb") as copy:
        for piece in _pieces(source):
            copy.write(piece)


def _pieces(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as source:
            while piece := source.read(_PIECE):
                yield piece
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"{file}: there is no such backup; `nightmail backup DIR` makes one") from error
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror or error}); correct its permissions, or take another backup"
        ) from error


@contextmanager
def _up_to_date(copy: Path, file: Path) -> Iterator[Engine]:
    """The copy as a ledger of this version; ConfigError that names `file` when it is none, or of a newer one."""
    url = f"sqlite:///{copy}"
    wrong = ConfigError(
        f"{file}: cannot be restored: it is damaged, no backup, or of a newer Nightmail; take another one, or upgrade"
    )
    with ExitStack() as stack:
        try:
            revision, _ = database.revisions(url)
            engine = stack.enter_context(database.open_once(url))
        except ConfigError as error:
            raise wrong from error
        if revision is None:
            raise wrong
        yield engine
