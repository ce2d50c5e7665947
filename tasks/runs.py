"""Opening a run: which job, which key, whose turn it is."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from configs.clock import Clock
from configs.errors import ConfigError, NightmailError
from configs.home import Home
from configs.job import Job
from configs.load import changes, identity, load_job, logical_date, resolve, run_key
from tasks import providers
from tasks.ledger import database
from tasks.ledger.owner import is_gone, me
from tasks.ledger.records import Lease, RunRecord
from tasks.ledger.states import RunState
from tasks.ledger.store import Ledger
from tasks.providers.base import BatchService
from tasks.run_folder import RunFolder, join

LEASE_SECONDS = 120.0
_RENEWALS_PER_LEASE = 4


@dataclass(frozen=True)
class Order:
    """What was asked for: a job with everything filled in, for one key."""

    job: Job
    key: str
    day: date
    redo: bool = False
    origin: str | None = None


class Run:
    """An opened run and its tools. Not a dataclass: Prefect would walk through all of them at every step."""

    def __init__(
        self,
        record: RunRecord,
        lease: Lease,
        ledger: Ledger,
        folder: RunFolder,
        service: BatchService,
        clock: Clock,
    ) -> None:
        self.id = record.id
        self.title = record.title
        self.record = record
        self.job = Job.model_validate(record.spec)
        self.lease = lease
        self.ledger = ledger
        self.folder = folder
        self.service = service
        self.clock = clock

    def receipt(self) -> dict[str, Any] | None:
        """The receipt, once the run is finished."""
        record = self.ledger.get_run(self.id)
        return record.receipt if record else None


def place_order(
    job: str,
    home: Home,
    clock: Clock,
    *,
    day: date | None = None,
    key: str | None = None,
    limit: int | None = None,
    overrides: Iterable[str] = (),
    redo: bool = False,
    origin: str | None = None,
) -> Order:
    """Load the job file and fill in date, key and overrides.

    A flow run (`origin`) that wakes after midnight stays with the date and key it began with.
    """
    items = [*overrides, *([f"source.limit={limit}"] if limit is not None else [])]
    loaded = load_job(job, items)
    begun = _begun_by(origin, home, clock)
    when = begun.logical_date if begun else logical_date(loaded, day, clock)
    name = begun.key if begun else run_key(when, key)
    return Order(resolve(loaded, when, name), name, when, redo and begun is None, origin)


@contextmanager
def open_run(order: Order, home: Home, environ: Mapping[str, str], clock: Clock) -> Iterator[Run]:
    """The run of (job, key), made or resumed, held by this process alone until the block ends.

    Raises RunBusy while another process works on it, ConfigError when the job changed under the same key.
    """
    service = providers.connect(order.job.provider, home, environ)
    ledger = Ledger(home.ledger_url, clock)
    record = _find_or_create(order, ledger)
    lease = ledger.claim(record.id, me(), LEASE_SECONDS, is_gone)
    try:
        with _heartbeat(ledger, lease):
            folder = RunFolder(
                join(home.runs_url, record.folder), guard=lambda: ledger.check(lease), stamp=lease.fence
            )
            folder.sweep()
            held = ledger.get_run(record.id) or record
            yield Run(held, lease, ledger, folder, service, clock)
    finally:
        ledger.release(lease)


def _begun_by(origin: str | None, home: Home, clock: Clock) -> RunRecord | None:
    if origin is None or not database.exists(home.ledger_url):
        return None
    return Ledger(home.ledger_url, clock).run_of_origin(origin)


def _find_or_create(order: Order, ledger: Ledger) -> RunRecord:
    wanted = identity(order.job)
    latest = ledger.latest_run(order.job.name, order.key)
    # A redo that was interrupted is resumed, not begun once more.
    if latest is not None and not (order.redo and latest.state is RunState.FINISHED):
        changed = changes(latest.identity, wanted)
        if changed and not order.redo:
            raise ConfigError(
                f"{latest.title}: the job changed since this run began ({', '.join(changed[:5])});"
                " undo that, give another --key, or --redo to replace the output"
            )
        if not changed:
            return latest
    generation = latest.generation + 1 if latest else 1
    return _create(order, ledger, generation, wanted)


def _create(order: Order, ledger: Ledger, generation: int, wanted: Mapping[str, object]) -> RunRecord:
    # Random, so that two ledgers on one provider account never take each other's batches for their own.
    run_id = secrets.token_hex(5)
    suffix = f".{generation}" if generation > 1 else ""
    ledger.create_run(
        run_id,
        job=order.job.name,
        key=order.key,
        generation=generation,
        logical_date=order.day,
        spec=order.job.model_dump(mode="json", by_alias=True),
        identity=wanted,
        folder=join(order.job.name, order.key + suffix),
        origin=order.origin,
    )
    made = ledger.get_run(run_id)
    assert made is not None
    return made


@contextmanager
def _heartbeat(ledger: Ledger, lease: Lease) -> Iterator[None]:
    """Renew the lease while the block runs, also during a long upload."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(LEASE_SECONDS / _RENEWALS_PER_LEASE):
            try:
                ledger.renew(lease, LEASE_SECONDS)
            except NightmailError:
                continue  # a lost lease shows at the next write, a busy database at the next beat

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
