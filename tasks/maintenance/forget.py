"""Erase what all runs of a job keep here: the rows, requests and answers in their folders, and where answers are."""

from __future__ import annotations

import sys

from configs.clock import Clock
from configs.errors import ConfigError
from configs.home import Home
from tasks.ledger.leases import is_held
from tasks.ledger.records import RunRecord
from tasks.ledger.transitions import INACTIVE
from tasks.maintenance.cleanup import CleanupResult, remove_of_run
from tasks.maintenance.leftovers import Leftover, LeftoverKind, lives_in, unknown_folders
from tasks.runs.queries import open_ledger
from tasks.storage.run_folder import RunFolder, join


def forget(home: Home, clock: Clock, job: str, *, remove: bool) -> CleanupResult:
    """Find the folders of the job's runs and, if told to, erase them. The ledger keeps its rows, and outputs stay.

    ConfigError for a job that has no runs, or one that is under way.
    """
    ledger = open_ledger(home)
    records = ledger.recent_runs(limit=sys.maxsize) if ledger else ()
    runs = [run for run in records if run.job == job]
    if ledger is None or not runs:
        raise ConfigError(f"--forget {job}: no job of that name has run here; see `nightmail status`")
    for run in runs:
        if run.state not in INACTIVE or is_held(run, clock.now()):
            raise ConfigError(f"--forget {job}: {run.title} is under way; cancel it, or wait for its end")
    result = CleanupResult(removed=remove, notes=list(unknown_folders(home, records)))
    folders = [leftover for run in runs if (leftover := _folder_of(run, records, home, result.notes))]
    if not remove:
        result.leftovers = folders
        return result
    ledger.forget_reuse_index(job)
    for folder in folders:
        remove_of_run(ledger, {}, [folder], result)
    result.complete = result.complete and len(result.leftovers) == len(folders)
    return result


def _folder_of(
    run: RunRecord, records: tuple[RunRecord, ...], home: Home, notes: list[str]
) -> Leftover | None:
    folder = RunFolder(join(home.runs_url, run.folder))
    if folder.is_empty:
        return None
    if any(lives_in(folder, run, other) for other in records):
        notes.append(f"{folder.url}: another run or an output lies in it; it is left alone, erase it by hand")
        return None
    return Leftover(LeftoverKind.FOLDER, run.folder, "", folder.url, run, f"{run.title} is to be forgotten")
