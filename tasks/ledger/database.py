"""Opening the ledger's database: one engine per process and URL, schema brought up to date."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from configs.errors import ConfigError, StorageError
from configs.extras import POSTGRES
from configs.private_files import make_private_file, make_private_folder
from tasks.ledger.schema import runs

LET_GO: Final = "stop workers, sweeps, `nightmail webhooks` and `nightmail console`"
"""What comes before a ledger's files are moved: whoever has them open goes on writing into what was moved."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30


@functools.cache
def open_database(url: str) -> Engine:
    """Engine for `url`, its folder made and its schema at the newest revision.

    Raises ConfigError when the database cannot be reached or was made by a newer Nightmail.
    """
    return _open(url)


@contextmanager
def open_once(url: str) -> Iterator[Engine]:
    """The same for a database that nobody else here opens: closed when the block ends, so that its file is whole."""
    engine = _open(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _open(url: str) -> Engine:
    with _errors_name(url):
        parsed = _url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            path = Path(str(parsed.database))
            make_private_folder(path.parent)
            make_private_file(path)  # SQLite gives its journals the permissions of the database
        engine = sa.create_engine(parsed, pool_pre_ping=True)
        if engine.dialect.name == "sqlite":
            _tune_sqlite(engine)
            with engine.connect().execution_options(reading=True) as connection:
                _refuse_damaged(connection)
        with engine.begin() as connection:
            _migrate(connection, url)
    return engine


def discard_unused(url: str) -> None:
    """Delete a SQLite ledger in which there is no run: one that was made for a run whose input turned out to be wrong."""
    engine = open_database(url)
    if engine.dialect.name != "sqlite":
        return
    file = Path(str(engine.url.database))
    with engine.begin() as connection:  # locks it: nobody adds a run between the look and the deletion
        if connection.execute(sa.select(runs.c.id).limit(1)).first() is None:
            for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
                file.with_name(name).unlink(missing_ok=True)
            open_database.cache_clear()
    engine.dispose()


def revisions(url: str) -> tuple[str | None, str | None]:
    """The schema's revision in a ledger that is there, and the newest one known. Changes nothing.

    Raises ConfigError when the database cannot be reached.
    """
    with _errors_name(url):
        engine = sa.create_engine(_url(url))
        try:
            with engine.connect() as connection:
                return _revision(connection), ScriptDirectory(str(_MIGRATIONS)).get_current_head()
        finally:
            engine.dispose()


def _url(url: str) -> sa.URL:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


@contextmanager
def _errors_name(url: str) -> Iterator[None]:
    """A database that does not open is a ConfigError that names it."""
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"ledger {shown(url)}: {error}; check NIGHTMAIL_LEDGER_URL (PostgreSQL needs {POSTGRES.install_hint})"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise_if_damaged(error, url)
        reason = str(getattr(error, "orig", None) or error).split("\n")[0]
        if _sqlite_code(error) == sqlite3.SQLITE_BUSY:
            raise StorageError(
                f"ledger {shown(url)}: another process has kept it locked for {_BUSY_SECONDS} s; see which one hangs;"
                " nothing is lost, run the same command again"
            ) from error
        if _sqlite_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise StorageError(
                f"ledger {shown(url)}: {reason}; make room on its disk; nothing is lost, run the same command again"
            ) from error
        raise ConfigError(
            f"ledger {shown(url)}: cannot be opened ({reason}); check the path, its permissions and NIGHTMAIL_LEDGER_URL"
        ) from error


def raise_if_damaged(error: Exception, url: str | sa.URL) -> None:
    """ConfigError with the way on, when SQLite says that the file is no whole database; else nothing."""
    if _sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise _damaged(url, str(getattr(error, "orig", error))) from error


def _sqlite_code(error: Exception) -> int:
    """SQLite's error code, without its extended part; 0 where the error is none of SQLite's."""
    code: int = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return code & 0xFF


def _refuse_damaged(connection: Connection) -> None:
    """ConfigError for a file with damaged pages: it would be read as an older ledger, or fail in the middle of the night."""
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise _damaged(connection.engine.url, " ".join(str(found).split()))


def _damaged(url: str | sa.URL, reason: str) -> ConfigError:
    file = make_url(url).database
    return ConfigError(
        f"ledger {file}: is damaged ({reason}); {LET_GO}, move {file}* away, `nightmail restore` a backup if there is one,"
        " and run the same command again: runs go on from their run folders, and nothing is bought twice"
    )


def exists(url: str) -> bool:
    """Whether a ledger is there already (read commands must not make one)."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "NIGHTMAIL_LEDGER_URL: not a database URL; e.g. sqlite:////data/ledger.db"
        ) from error
    return parsed.get_backend_name() != "sqlite" or Path(str(parsed.database)).exists()


def shown(url: str) -> str:
    """The URL as it may be said to people: without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(NIGHTMAIL_LEDGER_URL)"


def _migrate(connection: Connection, url: str) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS))
    head = ScriptDirectory.from_config(config).get_current_head()
    current = _revision(connection)
    if current == head:
        return
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigError(f"ledger {shown(url)}: made by a newer Nightmail; upgrade this one")
    if connection.dialect.name == "postgresql":  # two starters at once: one migrates, the other waits
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7361746)"))
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _tune_sqlite(engine: Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous = FULL")  # a transaction reported done survives power loss
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        # A writer takes the lock before it reads the fence, so that nobody moves it in between.
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _switch_to_wal(cursor: Any) -> None:
    """Of two first starters at once, one is told at once that the database is locked, whatever its busy timeout."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
