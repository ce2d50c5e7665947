"""Find and remove what finished and cancelled runs left behind.

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
from tasks.ledger.leases import current_owner, is_held, owner_is_dead
from tasks.ledger.records import RunRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import INACTIVE
from tasks.maintenance.leftovers import (
    Leftover,
    LeftoverKind,
    expired_folder,
    leftovers_at_provider,
    unknown_folders,
)
from tasks.orchestration import blocks
from tasks.providers.base import BatchService
from tasks.reuse.kept_folders import kept_folders
from tasks.runs.lease import LEASE_SECONDS
from tasks.runs.queries import open_ledger
from tasks.storage.run_folder import RunFolder


@dataclass
class CleanupResult:
    """What was found, or with `removed` what was removed, and what could not be looked at or removed."""

    removed: bool
    leftovers: list[Leftover] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complete: bool = True  # False when the same command can do more a little later


@dataclass(frozen=True)
class _InactiveRun:
    record: RunRecord
    job: Job
    service: BatchService | None


def clean(
    home: Home, environ: Mapping[str, str], clock: Clock, *, remove: bool, folders: bool = True
) -> CleanupResult:
    """Find the leftovers of every run in the ledger and, if told to, remove them. Doing it twice does no harm.

    Without `folders` only the providers are looked at.
    """
    result = CleanupResult(removed=remove)
    ledger = open_ledger(home)
    records: tuple[RunRecord, ...] = ledger.recent_runs(limit=sys.maxsize) if ledger else ()
    if folders:
        result.notes += unknown_folders(home, records)
    if ledger is None:
        return result
    inactive = _open_all([record for record in records if _is_inactive(record, clock)], home, environ, result)
    services = {run.service.account: run.service for run in inactive if run.service is not None}
    leftovers = []
    for service in services.values():
        of_account = [
            run.record for run in inactive if run.service and run.service.account == service.account
        ]
        try:
            leftovers += list(leftovers_at_provider(service, ledger, {run.id: run for run in of_account}))
        except NightmailError as error:
            result.notes.append(f"{service.account}: {error}")
            result.complete = result.complete and not isinstance(error, TransientError)
    if folders:
        expired = (expired_folder(run.record, run.job.run.keep, records, home, clock) for run in inactive)
        leftovers += _unless_reused([folder for folder in expired if folder], records, ledger, home, clock)
    if not remove:
        result.leftovers = leftovers
        return result
    leftovers.sort(key=lambda leftover: leftover.run.id)  # stable: batches stay before their files
    for _, of_run in groupby(leftovers, key=lambda leftover: leftover.run.id):
        remove_of_run(ledger, services, list(of_run), result)
    return result


def _unless_reused(
    folders: list[Leftover], records: tuple[RunRecord, ...], ledger: Ledger, home: Home, clock: Clock
) -> list[Leftover]:
    """Those folders that no later run of their job may take answers from."""
    jobs = {folder.run.job for folder in folders}
    kept = {job: kept_folders(job, records, ledger, home.runs_url, clock.now()) for job in jobs}
    return [folder for folder in folders if folder.run.folder not in kept[folder.run.job]]


def as_data(cleaning: CleanupResult) -> dict[str, Any]:
    """The same as plain data."""
    kinds = [leftover.kind for leftover in cleaning.leftovers]
    return {
        "removed": cleaning.removed,
        "leftovers": [
            {
                "kind": str(leftover.kind),
                "id": leftover.id,
                "name": leftover.name,
                "where": leftover.where,
                "run": f"{leftover.run.job}/{leftover.run.key}",
                "run_id": leftover.run.id,
                "reason": leftover.reason,
            }
            for leftover in cleaning.leftovers
        ],
        "totals": {str(kind): kinds.count(kind) for kind in LeftoverKind},
        "notes": cleaning.notes,
    }


def _is_inactive(run: RunRecord, clock: Clock) -> bool:
    return run.state in INACTIVE and not is_held(run, clock.now())


def _open_all(
    records: list[RunRecord], home: Home, environ: Mapping[str, str], result: CleanupResult
) -> list[_InactiveRun]:
    """The runs with their jobs and services. A service whose key is not here is a note, and left out."""
    opened = []
    missing: dict[str, int] = {}
    for record in records:
        try:
            job = Job.model_validate(record.spec)
        except ValidationError:
            result.notes.append(f"{record.title}: its job was written by another version; it is left alone")
            continue
        service = None
        try:
            service = blocks.connect(job.provider, home, environ)
        except ConfigError as error:
            missing[str(error)] = missing.get(str(error), 0) + 1
        opened.append(_InactiveRun(record, job, service))
    result.notes += [f"{error} ({count} runs of it were not looked at)" for error, count in missing.items()]
    return opened


def remove_of_run(
    ledger: Ledger, services: Mapping[str, BatchService], leftovers: list[Leftover], result: CleanupResult
) -> None:
    """Remove one run's leftovers while holding its lease, so that nobody goes on with the run meanwhile."""
    run = leftovers[0].run
    try:
        run_ledger = ledger.claim(run.id, current_owner(), LEASE_SECONDS, owner_is_dead)
    except RunBusy as error:
        result.notes.append(str(error))
        return
    try:
        if run_ledger.fence != run.fence + 1:
            result.notes.append(f"{run.title}: somebody went on with it just now; it is left alone")
            return
        _remove_all(run_ledger, services, leftovers, result)
    except LeaseLost as error:
        result.notes.append(str(error))
    finally:
        run_ledger.release()


def _remove_all(
    run_ledger: RunLedger,
    services: Mapping[str, BatchService],
    leftovers: list[Leftover],
    result: CleanupResult,
) -> None:
    for leftover in leftovers:
        run_ledger.renew(LEASE_SECONDS)
        try:
            _remove(run_ledger, services, leftover)
        except LeaseLost:
            raise
        except (NightmailError, OSError) as error:
            result.complete = False
            result.notes.append(f"{leftover.kind} {leftover.id} is still there: {error}")
            if isinstance(error, TransientError):
                return  # the rest would wait as long, and fail as well
        else:
            result.leftovers.append(leftover)
            run_ledger.note("cleaned", f"{leftover.kind} {leftover.id}: {leftover.reason}")


def _remove(run_ledger: RunLedger, services: Mapping[str, BatchService], leftover: Leftover) -> None:
    if leftover.kind is LeftoverKind.FOLDER:
        RunFolder(leftover.where, guard=run_ledger.check).remove("")
    elif leftover.kind is LeftoverKind.BATCH:
        services[leftover.where].cancel(leftover.id)
    else:
        services[leftover.where].delete_file(leftover.id)
