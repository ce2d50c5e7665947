"""What finished and cancelled runs left behind: found, shown, removed.

At the providers: files that we uploaded, result files of our batches, open batches that nobody waits for. Here: the
folders of runs that finished longer ago than their job's `run.keep`; the ledger keeps its rows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from configs.clock import Clock
from configs.errors import ConfigError, LeaseLost, NightmailError, RunBusy, TransientError
from configs.home import Home
from configs.job import Job
from tasks.ledger.leases import current_owner, owner_is_dead
from tasks.ledger.records import Lease, RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import OVER
from tasks.maintenance.leftovers import Kind, Leftover, at_provider, old_folder
from tasks.orchestration import blocks
from tasks.providers.base import BatchService
from tasks.runs.queries import open_ledger
from tasks.runs.session import LEASE_SECONDS
from tasks.storage.run_folder import RunFolder


@dataclass
class CleanupResult:
    """What was found, or with `removed` what was removed, and what could not be looked at or removed."""

    removed: bool
    leftovers: list[Leftover] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complete: bool = True  # False when the same command can do more a little later


@dataclass(frozen=True)
class _Run:
    record: RunRecord
    job: Job
    service: BatchService | None


def clean(
    home: Home, environ: Mapping[str, str], clock: Clock, *, remove: bool, folders: bool = True
) -> CleanupResult:
    """Find the leftovers of every run in the ledger and, if told to, remove them. Doing it twice does no harm.

    Without `folders` only the providers are looked at.
    """
    done = CleanupResult(removed=remove)
    ledger = open_ledger(home)
    if ledger is None:
        return done
    records = ledger.recent_runs(limit=sys.maxsize)
    over = _open_all([record for record in records if _is_over(record, clock)], home, environ, done)
    services = {run.service.account: run.service for run in over if run.service is not None}
    found = []
    for service in services.values():
        mine = [run.record for run in over if run.service and run.service.account == service.account]
        try:
            found += list(at_provider(service, ledger, {run.id: run for run in mine}))
        except NightmailError as error:
            done.notes.append(f"{service.account}: {error}")
            done.complete = done.complete and not isinstance(error, TransientError)
    if folders:
        old = (old_folder(run.record, run.job.run.keep, records, home, clock) for run in over)
        found += [folder for folder in old if folder]
    if not remove:
        done.leftovers = found
        return done
    found.sort(key=lambda item: item.run.id)  # stable
    for _, items in groupby(found, key=lambda item: item.run.id):
        _remove_of_run(ledger, services, list(items), done)
    return done


def as_data(cleaning: CleanupResult) -> dict[str, Any]:
    """The same as plain data."""
    kinds = [item.kind for item in cleaning.leftovers]
    return {
        "removed": cleaning.removed,
        "leftovers": [
            {
                "kind": str(item.kind),
                "id": item.id,
                "name": item.name,
                "where": item.where,
                "run": f"{item.run.job}/{item.run.key}",
                "run_id": item.run.id,
                "reason": item.reason,
            }
            for item in cleaning.leftovers
        ],
        "totals": {str(kind): kinds.count(kind) for kind in Kind},
        "notes": cleaning.notes,
    }


def _is_over(run: RunRecord, clock: Clock) -> bool:
    held = run.lease_owner is not None and run.lease_until is not None and run.lease_until > clock.now()
    return run.state in OVER and not (held and not owner_is_dead(run.lease_owner or ""))


def _open_all(
    records: list[RunRecord], home: Home, environ: Mapping[str, str], done: CleanupResult
) -> list[_Run]:
    """The runs with their jobs and services. A service whose key is not here is a note, and left out."""
    opened = []
    missing: dict[str, int] = {}
    for record in records:
        try:
            job = Job.model_validate(record.spec)
        except ValidationError:
            done.notes.append(f"{record.title}: its job was written by another version; it is left alone")
            continue
        service = None
        try:
            service = blocks.connect(job.provider, home, environ)
        except ConfigError as error:
            missing[str(error)] = missing.get(str(error), 0) + 1
        opened.append(_Run(record, job, service))
    done.notes += [f"{error} ({count} runs of it were not looked at)" for error, count in missing.items()]
    return opened


def _remove_of_run(
    ledger: Ledger, services: Mapping[str, BatchService], items: list[Leftover], done: CleanupResult
) -> None:
    """Remove one run's leftovers while holding its lease, so that nobody goes on with the run meanwhile."""
    run = items[0].run
    try:
        lease = ledger.claim(run.id, current_owner(), LEASE_SECONDS, owner_is_dead)
    except RunBusy as error:
        done.notes.append(str(error))
        return
    try:
        if lease.fence != run.fence + 1:
            done.notes.append(f"{run.title}: somebody went on with it just now; it is left alone")
            return
        _remove_all(ledger, lease, services, items, done)
    except LeaseLost as error:
        done.notes.append(str(error))
    finally:
        ledger.release(lease)


def _remove_all(
    ledger: Ledger,
    lease: Lease,
    services: Mapping[str, BatchService],
    items: list[Leftover],
    done: CleanupResult,
) -> None:
    for item in items:
        ledger.renew(lease, LEASE_SECONDS)
        try:
            if item.kind is Kind.FOLDER:
                RunFolder(item.where, guard=lambda: ledger.check(lease)).remove("")
            elif item.kind is Kind.BATCH:
                services[item.where].cancel(item.id)
            else:
                services[item.where].delete_file(item.id)
        except LeaseLost:
            raise
        except (NightmailError, OSError) as error:
            done.complete = False
            done.notes.append(f"{item.kind} {item.id} is still there: {error}")
            if isinstance(error, TransientError):
                return  # the rest would wait as long, and fail as well
        else:
            done.leftovers.append(item)
            ledger.note(lease, "cleaned", f"{item.kind} {item.id}: {item.reason}")
