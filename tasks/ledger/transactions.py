"""Reads and write transactions of the ledger's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row
from sqlalchemy.exc import DatabaseError, OperationalError

from configs.errors import ConfigError, StorageError
from tasks.ledger.database import raise_if_damaged

_ROWS_AT_A_TIME = 1_000
_MAY_NOT_WRITE = ("42501", "25006")
"""PostgreSQL's insufficient_privilege and read_only_sql_transaction: https://www.postgresql.org/docs/current/errcodes-appendix.html"""


class Transactions:
    """All that reads or writes the ledger goes through here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, query: sa.Select[Any]) -> list[Row[Any]]:
        """The rows of one query, in a transaction that keeps no writer waiting."""
        with self._errors(), self._engine.connect().execution_options(reading=True) as connection:
            return list(connection.execute(query))

    def stream(self, query: sa.Select[Any]) -> Iterator[Row[Any]]:
        """The same, some rows at a time: for results of any length. Read it to its end, or close it."""
        options = {"reading": True, "yield_per": _ROWS_AT_A_TIME}
        with self._errors(), self._engine.connect().execution_options(**options) as connection:
            yield from connection.execute(query)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One transaction for several queries, which all see the ledger as it was at the first; no writer waits for it."""
        options: dict[str, Any] = {"reading": True, "yield_per": _ROWS_AT_A_TIME}
        # There, each query sees what is committed by then, unless told otherwise.
        if self._engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with self._errors(), self._engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends, undone when it raises. StorageError: the database is away."""
        with self._errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """A database that is away is a StorageError, one that is damaged or may not be written a ConfigError."""
        try:
            yield
        except DatabaseError as error:
            raise_if_damaged(error, self._engine.url)
            reason = str(error.orig).split("\n")[0]
            if getattr(error.orig, "sqlstate", None) in _MAY_NOT_WRITE:
                url = self._engine.url.render_as_string(hide_password=True)
                raise ConfigError(
                    f"ledger {url}: {reason}; grant its user SELECT, INSERT, UPDATE and DELETE on all tables"
                ) from error
            if not isinstance(error, OperationalError):
                raise
            raise StorageError(
                f"ledger: {reason}; nothing is lost, run the same command again when the database answers and has room"
            ) from error
