"""Reads and write transactions of the ledger's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row
from sqlalchemy.exc import OperationalError

from configs.errors import StorageError


class Transactions:
    """All that reads or writes the ledger goes through here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, query: sa.Select[Any]) -> list[Row[Any]]:
        """The rows of one query, in a transaction that keeps no writer waiting."""
        with self._engine.connect().execution_options(reading=True) as connection:
            return list(connection.execute(query))

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends, undone when it raises. StorageError: the database is away."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except OperationalError as error:
            reason = str(error.orig).split("\n")[0]
            raise StorageError(
                f"ledger: {reason}; nothing is lost, run the same command again when the database answers"
            ) from error
