"""Which run folders reuse needs, whatever `run.keep` says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from configs.frozen import seconds
from configs.reuse import Reuse
from tasks.ledger.leases import is_held
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState
from tasks.reuse.job_index import needed_folders
from tasks.runs.chunk_files import lines_name
from tasks.storage.run_folder import RunFolder, join


def kept_folders(
    job: str, records: Iterable[RunRecord], ledger: Ledger, runs_url: str, now: datetime
) -> frozenset[str]:
    """The folders of the job's runs that stay. `records` are all runs, the newest first, whose job decides.

    All of them while a run of it is under way: it was prepared with what they hold, or is being prepared. A cancelled run
    can go on, and keeps those that it takes answers from, as long after its end as its own `run.keep` says; all of them
    where that cannot be read.
    """
    of_job = [record for record in records if record.job == job]
    everything = frozenset(record.folder for record in of_job)
    reuse = _reuse_of(of_job[0]) if of_job else None
    unfinished = list(_unfinished(of_job, ledger, now))
    if any(record.state is not RunState.CANCELLED and _reuse_of(record) for record in unfinished):
        return everything
    try:
        taken = [_taken_from(record, ledger, runs_url) for record in unfinished]
    except pa.ArrowException:
        return everything
    return needed_folders(job, reuse, ledger, runs_url, now).union(*taken)


def _unfinished(of_job: list[RunRecord], ledger: Ledger, now: datetime) -> Iterator[RunRecord]:
    """The runs that go on or may; no run goes on whose redo has begun, unless a process still works on it."""
    newest: dict[str, int] = {}
    for record in of_job:
        newest[record.key] = max(record.generation, newest.get(record.key, 0))
    for record in of_job:
        is_replaced = record.generation < newest[record.key] and not is_held(record, now)
        if record.state is not RunState.FINISHED and not is_replaced and not _is_past(record, ledger, now):
            yield record


def _is_past(record: RunRecord, ledger: Ledger, now: datetime) -> bool:
    """Whether a run was cancelled longer ago than its `run.keep`."""
    keep = record.spec["run"]["keep"]
    if record.state is not RunState.CANCELLED or keep is None:
        return False
    cancelled = [event.at for event in ledger.history(record.id) if event.kind == "cancelled"]
    return max(cancelled, default=record.created_at) + timedelta(seconds=seconds(keep)) <= now


def _taken_from(record: RunRecord, ledger: Ledger, runs_url: str) -> frozenset[str]:
    """The folders whose answers the run takes over when it goes on: merged rows hold theirs."""
    folder = RunFolder(join(runs_url, record.folder))
    waiting = [chunk.number for chunk in ledger.chunks(record.id) if chunk.state is not ChunkState.MERGED]
    return frozenset(name for number in waiting for name in _holders(folder, number))


def _holders(folder: RunFolder, chunk: int) -> list[str]:
    """The run folders that the chunk's lines name; none where they are gone, since such a run cannot go on."""
    try:
        file = folder.read_if_there(lines_name(chunk))
    except FileNotFoundError:
        return []
    with file:
        lines = pq.ParquetFile(file)
        if "reuse_run" not in lines.schema_arrow.names:
            return []
        names: list[str] = lines.read(["reuse_run"]).column(0).drop_null().unique().to_pylist()
        return names


def _reuse_of(record: RunRecord) -> Reuse | None:
    section = record.spec.get("reuse")
    return None if section is None else Reuse.model_validate(section)
