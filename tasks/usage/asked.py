"""Statistics of this installation, as somebody asks for them at a command line or in a form."""

from __future__ import annotations

from datetime import date
from typing import Final

from configs.clock import Clock
from configs.errors import ConfigError
from configs.home import Home
from tasks.ledger.store import Ledger
from tasks.runs.queries import open_ledger
from tasks.usage.aggregate import usage_of
from tasks.usage.document import By, Usage
from tasks.usage.period import Period, between, last, zone_of

LAST: Final = "30d"
"""The range that nobody has to ask for."""
ZONE: Final = "UTC"
"""The zone whose days are counted unless another is named: the same on every machine that reads the ledger."""


def asked_usage(
    home: Home,
    clock: Clock,
    by: By,
    *,
    since: str | None = None,
    first: date | None = None,
    to: date | None = None,
    job: str | None = None,
    zone: str = ZONE,
) -> Usage:
    """The statistics; ConfigError for a range, a zone or a job that there is not."""
    ledger = open_ledger(home)
    check_job(ledger, job)
    return usage_of(ledger, _period(clock, since, first, to, zone), by, job)


def check_job(ledger: Ledger | None, job: str | None) -> None:
    """ConfigError when the ledger has no run of a job of that name."""
    names = ledger.jobs() if ledger else []
    if job is not None and job not in names:
        known = f"it has {', '.join(names[:5])}" if names else "it has none yet"
        raise ConfigError(f"--job: the ledger has no run of a job named {job!r}; {known}")


def _period(clock: Clock, since: str | None, first: date | None, to: date | None, zone: str) -> Period:
    if since is not None and (first is not None or to is not None):
        raise ConfigError("--since and --from or --to: give one or the other")
    if first is not None or to is not None:
        return between(first, to, zone_of(zone))
    return last(since or LAST, zone_of(zone), clock.now())
