"""Prepare a run range by range: rows between borders that no chunk crosses, so that several processes can make one each.

The files and records of a range are the same whoever makes it: each is read, rendered, sampled and cut by itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from secrets import token_hex

import numpy as np

from configs.errors import InputError
from configs.job import Job
from configs.progress import Progress, Reporter
from tasks.execution.engine import Engine
from tasks.ledger.records import ChunkRecord
from tasks.runs.chunk_files import lines_name, requests_name, rows_name, write_chunks
from tasks.runs.session import Run, shard_limits
from tasks.stages.plan import RequestPlan, RowSlice
from tasks.stages.prompt.ids import DuplicateFinder, Hashes, stable_hashes
from tasks.stages.prompt.shard import FileLimits
from tasks.stages.prompt.token_sample import SampleSummary
from tasks.stages.read.discover import source_fingerprint
from tasks.storage.run_folder import RunFolder, join


@dataclass(frozen=True, slots=True)
class PreparedRange:
    """A range of one plan, its files in place; `number` counts from 0, through all plans. `sample` adds up over ranges."""

    number: int
    plan: int
    rows: int
    chunks: tuple[ChunkRecord, ...]
    sample: SampleSummary


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to prepare: rows, and the ranges they are cut into."""

    rows: int
    ranges: int


@dataclass(frozen=True, slots=True)
class RangeWork:
    """What a process needs to make one range, in a folder of its own below `folder`."""

    job: Job
    limits: FileLimits
    id_pattern: re.Pattern[str]
    range_rows: int
    fingerprint: str
    folder: str
    stamp: int
    run_id: str
    number: int


@dataclass(frozen=True, slots=True)
class RangeFiles:
    """What it has made: chunks that are numbered from 1, in the folder `below`, and a hash of each id."""

    below: str
    chunks: tuple[ChunkRecord, ...]
    sample: SampleSummary
    hashes: Hashes


def prepared_ranges(
    run: Run,
    plans: Sequence[RequestPlan],
    engine: Engine,
    reporter: Reporter,
    *,
    first: int = 0,
    first_chunk: int = 1,
    surveyed: bool = False,
) -> Iterator[PreparedRange]:
    """The ranges from `first` on, in order, each once its files are in place; their chunks are numbered from `first_chunk`.

    Raises InputError after the last for ids that are not unique, unless a `survey` has looked, and wherever the source cannot
    be read or has changed meanwhile.
    """
    compares = not (surveyed or first)
    request_plan = plans[0]
    if engine.processes > 1 and request_plan.begins_anywhere and (request_plan.ranges or 0) > first + 1:
        yield from _side_by_side(run, request_plan, engine, reporter, first, first_chunk, compares)
        return
    for place, each in enumerate(plans):
        slices = each.row_slices() if compares else each.later_slices(first)
        shown = with_progress(each, slices, reporter)
        for number, group in groupby(shown, lambda row_slice: each.range_of(row_slice.first_row)):  # noqa: B023
            chunks = tuple(write_chunks(run.folder, run.id, each.rows_schema, group, first=first_chunk))
            first_chunk += len(chunks)
            _refuse_change(each)
            yield PreparedRange(place + number, place, _rows(chunks), chunks, each.summary_of(number))


def survey(plans: Sequence[RequestPlan]) -> Survey:
    """Read ids and what prompts use once, and raise the InputError that preparing would raise, but for what only the other
    columns hold."""
    rows = [each.refuse_duplicates() for each in plans]
    ranges = [1 + each.range_of(count - 1) for each, count in zip(plans, rows, strict=True)]
    return Survey(sum(rows), sum(ranges))


def with_progress(
    request_plan: RequestPlan, row_slices: Iterator[RowSlice], reporter: Reporter
) -> Iterator[RowSlice]:
    """The same slices; the rows of each are shown as done once the next is asked for."""
    done, total = 0, request_plan.dataset.rows_hint
    for row_slice in row_slices:
        yield row_slice
        done += row_slice.rows.num_rows
        reporter.progress(Progress("preparing", done, total, "rows"))


def prepare_range(work: RangeWork) -> RangeFiles:
    """Make one range, in a process that need not hold the run's lease."""
    request_plan = _plan_of(work)
    below = RunFolder(work.folder, stamp=work.stamp).temporary_name("range", token_hex(8))
    hashes: list[Hashes] = []
    slices = request_plan.slices_of_range(work.number, lambda ids: hashes.append(stable_hashes(ids)))
    folder = RunFolder(join(work.folder, below), stamp=work.stamp)
    chunks = tuple(write_chunks(folder, work.run_id, request_plan.rows_schema, slices))
    return RangeFiles(below, chunks, request_plan.summary_of(work.number), np.concatenate(hashes))


class _Opened(threading.local):
    """The plan of the work before, by what they have in common: opening a dataset reads all its footers.

    Of each thread, for a worker of a cluster may have several: a plan counts the rows that it walks.
    """

    def __init__(self) -> None:
        self.plans: dict[tuple[str, int, str, int], RequestPlan] = {}


_opened = _Opened()


def _plan_of(work: RangeWork) -> RequestPlan:
    common = (work.run_id, work.stamp, work.fingerprint, work.range_rows)
    plans = _opened.plans
    if common not in plans:
        plans.clear()
        request_plan = RequestPlan(work.job, work.limits, work.id_pattern, work.range_rows)
        if request_plan.dataset.fingerprint != work.fingerprint:
            raise _has_changed(work.job)
        plans[common] = request_plan
    return plans[common]


def _side_by_side(
    run: Run,
    request_plan: RequestPlan,
    engine: Engine,
    reporter: Reporter,
    first: int,
    first_chunk: int,
    compares: bool,
) -> Iterator[PreparedRange]:
    duplicates = DuplicateFinder()
    total = request_plan.dataset.rows_hint
    done = first * request_plan.range_rows
    numbers = range(first, request_plan.ranges or 0)
    works = (_work(run, request_plan, number) for number in numbers)
    for number, made in zip(numbers, engine.results(prepare_range, works), strict=True):
        chunks = _adopted(run.folder, made, first_chunk)
        _refuse_change(request_plan)
        if compares:
            duplicates.add_hashes(made.hashes)
        first_chunk += len(chunks)
        done += _rows(chunks)
        reporter.progress(Progress("preparing", done, total, "rows"))
        yield PreparedRange(number, 0, _rows(chunks), chunks, made.sample)
    request_plan.refuse(duplicates)


def _work(run: Run, request_plan: RequestPlan, number: int) -> RangeWork:
    limits = run.service.limits
    return RangeWork(
        job=run.job,
        limits=shard_limits(run.job, limits),
        id_pattern=limits.custom_id,
        range_rows=request_plan.range_rows,
        fingerprint=request_plan.dataset.fingerprint,
        folder=run.folder.url,
        stamp=run.record.fence,
        run_id=run.id,
        number=number,
    )


def _adopted(folder: RunFolder, made: RangeFiles, first_chunk: int) -> tuple[ChunkRecord, ...]:
    """Its chunks under the numbers they have in the run, their files in place."""
    chunks = tuple(replace(chunk, number=first_chunk - 1 + chunk.number) for chunk in made.chunks)
    for theirs, chunk in zip(made.chunks, chunks, strict=True):
        for source, target in zip(_names(theirs.number), _names(chunk.number), strict=True):
            folder.adopt(f"{made.below}/{source}", target)
    folder.remove(made.below)
    return chunks


def _names(number: int) -> tuple[str, ...]:
    return requests_name(number, 1), lines_name(number), rows_name(number)


def _rows(chunks: Sequence[ChunkRecord]) -> int:
    return sum(chunk.rows for chunk in chunks)


def _refuse_change(request_plan: RequestPlan) -> None:
    """Where each range is read by itself, a source that is replaced meanwhile would give two states of it to one run."""
    if request_plan.dataset.begins_anywhere:
        source = request_plan.job.source
        if source_fingerprint(source) != request_plan.dataset.fingerprint:
            raise _has_changed(request_plan.job)


def _has_changed(job: Job) -> InputError:
    return InputError(f"{job.source.path}: has changed while it was read; run the same command again")
