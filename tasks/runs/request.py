"""What was asked for: a job file, a date or key, and what to change of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from configs.clock import Clock
from configs.errors import ConfigError
from configs.home import Home
from configs.job import Job
from configs.load import load_job, logical_date, resolve, run_key
from tasks.ledger import database
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger


@dataclass(frozen=True)
class Order:
    """What was asked for: a job with everything filled in, for one key."""

    job: Job
    key: str
    day: date
    now: datetime
    job_file: str
    redo: bool = False
    retry: bool = False
    snapshot: bool = False
    origin: str | None = None


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
    retry: bool = False,
    snapshot: bool = False,
    origin: str | None = None,
    due: datetime | None = None,
) -> Order:
    """Load the job file and fill in date, key and overrides.

    Without `day` the date is the one before `due`: when the run was to start, however late that is done.
    A flow run (`origin`) that wakes after midnight stays with the date and key it began with.
    """
    if redo and retry:
        raise ConfigError(
            "retry asks a finished run's unanswered rows again, redo all its rows: give one of the two"
        )
    items = [*overrides, *([f"source.limit={limit}"] if limit is not None else [])]
    loaded = load_job(job, items)
    begun = _begun_by(origin, home, clock)
    when = begun.logical_date if begun else logical_date(loaded, day, due or clock.now())
    name = begun.key if begun else run_key(when, key)
    return Order(
        resolve(loaded, when, name),
        name,
        when,
        clock.now(),
        job,
        redo=redo and begun is None,
        retry=retry and begun is None,
        snapshot=snapshot,
        origin=origin,
    )


def _begun_by(origin: str | None, home: Home, clock: Clock) -> RunRecord | None:
    if origin is None or not database.exists(home.ledger_url):
        return None
    return Ledger(home.ledger_url, clock).run_of_origin(origin)
