"""Find what finished and cancelled runs left at their providers and on disk. Nothing is changed here.

Ours is what carries the id of such a run of this ledger, in its name or in its metadata, and the batches that the ledger
knows by their own id; nothing else is found. A cancelled run can go on: what it would still fetch or post is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from configs.clock import Clock
from configs.errors import NotFound
from configs.frozen import seconds
from configs.home import Home
from tasks.ledger.records import BatchRecord, RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState
from tasks.providers.base import BatchService, BatchStatus, ServiceBatch
from tasks.runs.run_file import NAME as RUN_FILE
from tasks.storage.run_folder import RunFolder, join

_UPLOAD = re.compile(r"nightmail-([0-9a-z]+)-\d+-\d+(?:\.\d+)?\.jsonl")
_NOT_COLLECTED = (ChunkState.INTENDED, ChunkState.UPLOADED, ChunkState.SUBMITTED, ChunkState.ENDED)


class LeftoverKind(StrEnum):
    """What can be left behind."""

    BATCH = "batch"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True)
class Leftover:
    """One thing to be removed; a batch is cancelled. `where` is the provider account or the folder's URL."""

    kind: LeftoverKind
    id: str
    name: str
    where: str
    run: RunRecord
    reason: str


def leftovers_at_provider(
    service: BatchService, ledger: Ledger, runs: dict[str, RunRecord]
) -> Iterator[Leftover]:
    """Leftovers of these runs in one account: batches first, so that none loses its input before its end."""
    since = min(run.created_at for run in runs.values())
    batches = [(key, batch) for key, batch in service.list_batches(since) if _run_id(key) in runs]
    files = {file.id: file.name for file in service.list_files()}
    for key, batch in _unlisted(service, ledger, runs, {batch.id for _, batch in batches}):
        batches.append((key, batch))
        files |= dict.fromkeys(batch.result_files, "")
    unread = {
        row.submission_key for run_id in runs for row in ledger.batches(run_id) if not row.was_read_whole
    }
    awaited = {row.submission_key: row for run in runs.values() for row in _awaited_batches(ledger, run)}
    for key, batch in batches:
        if _is_open(batch):  # also one that a cancel did not reach: an inactive run wants none
            reason = "open, and nobody waits for it: it costs money"
            yield Leftover(LeftoverKind.BATCH, batch.id, key, service.account, runs[_run_id(key)], reason)
    needed = _needed_files(awaited, batches)
    for key, batch in batches:
        run = runs[_run_id(key)]
        for file_id in () if key in unread else batch.result_files:
            if file_id in files and file_id not in needed:
                reason = f"results of {batch.id}; {_run_state(run)}"
                yield Leftover(LeftoverKind.FILE, file_id, files.pop(file_id), service.account, run, reason)
    for file_id, name in files.items():
        upload = _UPLOAD.fullmatch(name)
        if upload and upload[1] in runs and file_id not in needed:
            run = runs[upload[1]]
            reason = f"requests; {_run_state(run)}"
            yield Leftover(LeftoverKind.FILE, file_id, name, service.account, run, reason)


def _unlisted(
    service: BatchService, ledger: Ledger, runs: Mapping[str, RunRecord], listed: Collection[str]
) -> Iterator[tuple[str, ServiceBatch]]:
    """Batches that only the ledger can name: of services that keep no key of ours. One whose creation nobody confirmed
    before its run ended stays unknown."""
    for run_id in runs:
        for row in ledger.batches(run_id):
            if row.batch_id is None or row.batch_id in listed or row.tidied_at is not None:
                continue
            try:
                yield row.submission_key, service.retrieve(row.batch_id).confirmed(row.submission_key)
            except NotFound:
                continue


def _run_id(key: str) -> str:
    return key.partition("/")[0]


def _run_state(run: RunRecord) -> str:
    return f"{run.title} is {run.state}"


def _is_open(batch: ServiceBatch) -> bool:
    return not batch.status.ended and batch.status is not BatchStatus.CANCELLING


def _awaited_batches(ledger: Ledger, run: RunRecord) -> Iterator[BatchRecord]:
    """A cancelled run goes on with the current batches of those chunks that have not been collected."""
    if run.state is not RunState.CANCELLED:
        return
    chunks = [chunk for chunk in ledger.chunks(run.id) if chunk.state in _NOT_COLLECTED]
    waiting = {(chunk.number, chunk.attempt, chunk.posting) for chunk in chunks}
    for batch in ledger.batches(run.id):
        if (batch.chunk, batch.attempt, batch.posting) in waiting:
            yield batch


def _needed_files(awaited: Mapping[str, BatchRecord], batches: list[tuple[str, ServiceBatch]]) -> set[str]:
    """Files that a cancelled run fetches, or posts, when it goes on."""
    needed = {row.file_id for row in awaited.values() if row.file_id}
    for key, batch in batches:
        row = awaited.get(key)
        if row is not None and row.batch_id in (None, batch.id):
            needed |= set(batch.result_files)
            if batch.status.ended:
                needed.discard(row.file_id)
    return needed - {None}


def expired_folder(
    run: RunRecord, keep: str | None, others: Collection[RunRecord], home: Home, clock: Clock
) -> Leftover | None:
    """The folder of a run that finished longer ago than `keep`, unless another run or an output is in it."""
    finished = run.finished_at
    if run.state is not RunState.FINISHED or keep is None or finished is None:
        return None
    folder = RunFolder(join(home.runs_url, run.folder))
    due = finished + timedelta(seconds=seconds(keep)) <= clock.now()
    if not due or folder.is_empty or any(lives_in(folder, run, other) for other in others):
        return None
    reason = f"{run.title} finished {finished:%Y-%m-%d}, run.keep is {keep}"
    return Leftover(LeftoverKind.FOLDER, run.folder, "", folder.url, run, reason)


def lives_in(folder: RunFolder, run: RunRecord, other: RunRecord) -> bool:
    """Whether another run, or what it published, is in the folder of `run`."""
    # Key `k.2` and the second generation of key `k` had the same folder once; runs keep the one they began with.
    return (other.folder == run.folder and other.id != run.id) or folder.contains(
        other.spec["output"]["path"]
    )


def unknown_folders(home: Home, known: Collection[RunRecord]) -> Iterator[str]:
    """A line for each run folder whose run is not among the ledger's: it may have batches that nobody waits for."""
    folders = {run.folder for run in known}
    for name in sorted(RunFolder(home.runs_url).matching(f"*/*/{RUN_FILE}")):
        folder = name.removesuffix(f"/{RUN_FILE}")
        if folder not in folders:
            job, _, key = folder.partition("/")
            yield (
                f"run folder {join(home.runs_url, folder)}: this ledger does not know its run; run the job {job} with --key"
                f" {key.partition('@')[0]} to go on with it, or delete the folder once its batches are cancelled"
            )
