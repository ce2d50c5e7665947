"""All rows of one ledger into another: into a file as a backup, and from it into a database of either kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from configs.errors import ConfigError
from tasks.ledger.database import LET_GO, shown
from tasks.ledger.schema import events, metadata, runs, sweeps
from tasks.ledger.transactions import Transactions


def copy_all(source: Engine, target: Engine) -> int:
    """Put the rows of one moment of `source` into `target`, which has no run; how many runs that are.

    Runs may go on meanwhile. ConfigError when `target` has one.
    """
    with Transactions(source).snapshot() as reading, Transactions(target).write() as writing:
        _copy(reading, writing)
        return _count_runs(writing)


def take_over(source: Engine, target: Engine, now: datetime) -> int:
    """The same for a ledger that goes on in another place: nobody holds its leases there, and later holders' fencing numbers
    are above all that were given since the copy was made.
    """
    with Transactions(source).snapshot() as reading, Transactions(target).write() as writing:
        _copy(reading, writing)
        fence = int(now.timestamp())
        raised = sa.case((runs.c.fence < fence, fence), else_=runs.c.fence)
        writing.execute(runs.update().values(lease_owner=None, lease_until=None, fence=raised))
        writing.execute(sweeps.update().values(lease_owner=None, lease_until=None))
        return _count_runs(writing)


def _copy(reading: Connection, writing: Connection) -> None:
    if _count_runs(writing):
        url = writing.engine.url.render_as_string(hide_password=False)
        raise ConfigError(
            f"ledger {shown(url)}: has runs already, and nothing is mixed into them; {LET_GO}, then move its files"
            " (`ledger.db*`) away, or let NIGHTMAIL_LEDGER_URL name an empty database"
        )
    for table in reversed(metadata.sorted_tables):
        writing.execute(table.delete())  # rows that a new ledger begins with
    for table in metadata.sorted_tables:
        # The database counts the ids of events itself.
        columns = [column for column in table.columns if column is not events.c.id]
        insert = table.insert().values({column.name: _value(column) for column in columns})
        query = sa.select(*columns).order_by(*table.primary_key.columns)
        for rows in _partitions(reading, query):
            writing.execute(insert, rows)


def _value(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    """A place for the column's values, in which None stays NULL where there is JSON."""
    kind = sa.JSON(none_as_null=True) if isinstance(column.type, sa.JSON) else column.type
    return sa.bindparam(f"{column.name}_", type_=kind)


def _partitions(reading: Connection, query: sa.Select[Any]) -> Iterator[list[dict[str, Any]]]:
    for rows in reading.execute(query).partitions():
        yield [{f"{name}_": value for name, value in row._mapping.items()} for row in rows]


def _count_runs(connection: Connection) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(runs)).scalar_one())
