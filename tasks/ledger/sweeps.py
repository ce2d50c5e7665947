"""The record of sweeps: who is at it, and when the last one was completed. Its lease lapses by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa

from configs.clock import Clock
from tasks.ledger.database import open_database
from tasks.ledger.schema import sweeps
from tasks.ledger.transactions import Transactions


class Sweeps:
    """The one row of `sweeps` in the ledger at `url`, which the migration made."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._transactions = Transactions(open_database(url))
        self._clock = clock

    def begin(self, owner: str, seconds: float, is_dead: Callable[[str], bool]) -> str | None:
        """Take the lease for `seconds`; the owner of a live one, unless it is dead, keeps it and is returned."""
        now = self._clock.now()
        with self._transactions.write() as connection:
            holder = connection.execute(sa.select(sweeps.c.lease_owner)).scalar()
            free = sweeps.c.lease_until.is_(None) | (sweeps.c.lease_until <= now)
            orphaned = sweeps.c.lease_owner == holder if holder and is_dead(holder) else sa.false()
            until = now + timedelta(seconds=seconds)
            taken = connection.execute(
                sweeps.update().where(free | orphaned).values(lease_owner=owner, lease_until=until)
            )
            if taken.rowcount:
                return None
            return str(connection.execute(sa.select(sweeps.c.lease_owner)).scalar())

    def release(self, owner: str) -> None:
        """Let the next one begin at once. Silent when the lease is already someone else's."""
        ours = sweeps.update().where(sweeps.c.lease_owner == owner)
        with self._transactions.write() as connection:
            connection.execute(ours.values(lease_owner=None, lease_until=None))

    def complete(self) -> None:
        """Note that a sweep has looked at everything."""
        with self._transactions.write() as connection:
            connection.execute(sweeps.update().values(completed_at=self._clock.now()))

    def last_completed(self) -> datetime | None:
        """When the last sweep was completed; None before the first."""
        (row,) = self._transactions.read(sa.select(sweeps.c.completed_at))
        completed: datetime | None = row.completed_at
        return completed
