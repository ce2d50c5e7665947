"""The index of a job where its runs are: opened, made anew where it is gone, and brought up to date by a published run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import pyarrow as pa

from configs.errors import IntegrityError, StorageError
from configs.reuse import Reuse
from tasks.ledger.records import IndexRecord
from tasks.ledger.store import Ledger
from tasks.reuse.fingerprint import Fingerprints
from tasks.reuse.index import EMPTY, DamagedIndex, Index, Source, open_index
from tasks.reuse.look_up import LookUp, is_taken, is_too_old
from tasks.reuse.merge_index import IndexMaker
from tasks.reuse.published_answers import RECEIPT, PublishedRun, published_runs
from tasks.runs.session import Run
from tasks.storage.run_folder import RunFolder, join
from tasks.storage.temporary import nameless_file

NAME: Final = "reuse.index"
_LOOKS: Final = 3  # for a file that another run has just replaced


Note = Callable[[str], None]
"""Takes a line for people."""


def look_up(
    fingerprints: Fingerprints,
    job: str,
    reuse: Reuse,
    ledger: Ledger | None,
    runs_url: str,
    now: datetime,
    note: Note,
) -> LookUp:
    """What a run of the job that begins now takes from earlier ones."""
    index = _current(job, ledger, runs_url, note)
    there = _folders_there(index.sources, runs_url)
    usable = tuple(
        source.folder in there and is_taken(reuse, source.status, source.answered_at, now)
        for source in index.sources
    )
    return LookUp(fingerprints, index, usable)


def add_run(run: Run) -> None:
    """Let the job's later runs find the answers of this one, which is published. What fails is noted: the index is a cache."""
    reuse = run.job.reuse
    if reuse is None:
        return
    try:
        while not _add(run, reuse):
            run.ledger.note(
                "reuse", "another run of the job was published at the same time; its answers are added too"
            )
    except (StorageError, IntegrityError, OSError, pa.ArrowException) as error:
        run.ledger.note("reuse", f"the index of earlier answers was not brought up to date: {error}")


def needed_folders(
    job: str, reuse: Reuse | None, ledger: Ledger, runs_url: str, now: datetime
) -> frozenset[str]:
    """The run folders that hold answers younger than the job's `max_age`; none without one."""
    if reuse is None or reuse.max_age is None:
        return frozenset()
    index = _current(job, ledger, runs_url, _ignore)
    return frozenset(
        source.folder
        for source in index.sources
        if source.entries and not is_too_old(reuse, source.answered_at, now)
    )


def _ignore(text: str) -> None:
    del text


def _add(run: Run, reuse: Reuse) -> bool:
    """Write the index with this run's answers, and make it the job's; False when another run was faster."""
    before = run.all_runs.reuse_index(run.job.name)
    index = _current(run.job.name, run.all_runs, run.runs_url, lambda text: run.ledger.note("reuse", text))
    there = _folders_there(index.sources, run.runs_url)
    maker = IndexMaker()
    maker.take_over(
        index,
        [
            source.entries > 0
            and source.run != run.id
            and source.folder in there
            and not is_too_old(reuse, source.answered_at, run.clock.now())
            for source in index.sources
        ],
    )
    _add_answers(maker, PublishedRun(run.id, run.record.folder, run.record.created_at, run.folder))
    name = f"{before.version + 1 if before else 1:05d}.{NAME}"
    with run.folder.write(name) as sink:
        maker.write(sink)
    if not run.ledger.switch_reuse_index(run.job.name, before, join(run.record.folder, name)):
        run.folder.remove(name)
        return False
    if before is not None:
        _remove(run, before)
    return True


def _remove(run: Run, replaced: IndexRecord) -> None:
    folder, _, name = replaced.path.rpartition("/")
    RunFolder(join(run.runs_url, folder), guard=run.ledger.check).remove(name)


def _current(job: str, ledger: Ledger | None, runs_url: str, note: Note) -> Index:
    """The job's index; made of the run folders that are kept where there is none, or none that can be read."""
    problem = ""
    for _ in range(_LOOKS):
        record = ledger.reuse_index(job) if ledger else None
        if record is None:
            break
        try:
            with RunFolder(runs_url).read_local_copy(record.path) as file:
                return open_index(file)
        except (StorageError, OSError, DamagedIndex) as error:
            problem = f"the index of earlier answers is gone or damaged ({error}); made anew of the runs that are kept"
    if problem:
        note(problem)
    return _rebuilt(job, runs_url)


def _rebuilt(job: str, runs_url: str) -> Index:
    runs = list(published_runs(RunFolder(join(runs_url, job)), job))
    if not runs:
        return EMPTY
    maker = IndexMaker()
    for each in runs:
        with suppress(
            StorageError, OSError, pa.ArrowException
        ):  # a damaged folder: the others are worth as much
            _add_answers(maker, each)
    with nameless_file() as file:
        maker.write(file)
        file.flush()
        return open_index(file)


def _add_answers(maker: IndexMaker, run: PublishedRun) -> None:
    for sources, entries in run.answers():
        maker.add(sources, entries)


def _folders_there(sources: Sequence[Source], runs_url: str) -> frozenset[str]:
    folder = RunFolder(runs_url)
    return frozenset(
        name for name in {source.folder for source in sources} if folder.exists(join(name, RECEIPT))
    )
