"""Hold a run's lease, so that no other process works on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from configs.clock import Clock
from configs.errors import (
    LeaseLost,
    NightmailError,
)
from configs.home import Home
from configs.json_log import about_run
from tasks.ledger.leases import current_owner, owner_is_dead
from tasks.ledger.records import RunRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.providers.base import BatchService
from tasks.runs.session import Run
from tasks.storage.run_folder import RunFolder, join

LEASE_SECONDS = 120.0  # how long a run stays locked after its process died
# So that three renewals may fail, while the database restarts, before the lease lapses.
_RENEWALS_PER_LEASE = 4


@contextmanager
def hold_lease(
    record: RunRecord, service: BatchService, home: Home, clock: Clock, *, to_cancel: bool = False
) -> Iterator[Run]:
    """Hold the run's lease and renew it until the block ends. With `to_cancel` it is taken from whoever has it."""
    all_runs = Ledger(home.ledger_url, clock)
    asked_at = clock.now()
    ledger = all_runs.claim(record.id, current_owner(), LEASE_SECONDS, owner_is_dead, force=to_cancel)
    keeper = _LeaseKeeper(ledger, clock, asked_at)
    try:
        with keeper.renewing():
            folder = RunFolder(join(home.runs_url, record.folder), guard=keeper.check, stamp=ledger.fence)
            folder.delete_unfinished()  # partial uploads of a process that was killed
            service.guard = keeper.check_time  # called before each request that creates something
            run = Run(
                ledger.read_run(),
                ledger,
                all_runs,
                folder,
                service,
                clock,
                runs_url=home.runs_url,
                stopping=to_cancel,
                end_effects=keeper.end_effects,
            )
            try:
                with about_run(run=run.id, job=run.job.name, key=run.record.key):
                    yield run
            finally:
                run.close_engine()
    finally:
        ledger.release()


class _LeaseKeeper:
    """Renews a lease in a thread, and checks that it still holds before every effect outside the ledger."""

    def __init__(self, ledger: RunLedger, clock: Clock, asked_at: datetime) -> None:
        self._ledger, self._clock = ledger, clock
        # From before the request, however long it took: never later than the ledger's own end.
        self._until = asked_at + timedelta(seconds=LEASE_SECONDS)
        self._ended = False

    def check(self) -> None:
        """Raise LeaseLost unless the ledger confirms that this process holds the lease."""
        self._ledger.check()
        self.check_time()

    def check_time(self) -> None:
        """Compare the clock with the end of the lease; renew it, or raise LeaseLost, if that has passed.

        Cheap enough for every request. A process that was frozen (a suspended machine, a stopped container) since its
        last check notices here that its lease has lapsed.
        """
        if self._ended:
            raise LeaseLost("this process was told to stop; nothing more is sent or written")
        # A loop: the process may be frozen again right after the ledger renewed the lease.
        while self._clock.now() >= self._until:
            self._renew()

    def end_effects(self) -> None:
        """Let every later check raise LeaseLost, whoever holds the lease."""
        self._ended = True

    def _renew(self) -> None:
        asked_at = self._clock.now()
        self._ledger.renew(LEASE_SECONDS)
        self._until = asked_at + timedelta(seconds=LEASE_SECONDS)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the lease while the block runs, also during a long upload."""
        stop = threading.Event()

        def renew_regularly() -> None:
            while not stop.wait(LEASE_SECONDS / _RENEWALS_PER_LEASE):
                try:
                    self._renew()
                except LeaseLost:  # taken by `cancel`: makes the next `check_time` raise
                    self._until = self._clock.now()
                except NightmailError:  # the ledger cannot be reached; it may return before the lease lapses
                    continue

        thread = threading.Thread(target=renew_regularly, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
