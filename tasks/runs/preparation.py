"""Prepare the ranges of a source in a thread, while those that are recorded are posted.

A survey of the whole source comes first (`begin`), so that nothing of it can turn out to be wrong once something is paid
for. A range is recorded when its files are durable and the source is still the one that was surveyed: no run holds two
states of a row.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from configs.errors import ConfigError, InputError, IntegrityError
from configs.progress import Progress
from configs.providers.billing import has_fees
from tasks.ledger.records import ChunkRecord, RunRecord
from tasks.runs.budgets import spending_caps
from tasks.runs.estimates import estimate
from tasks.runs.history import history_of_plan
from tasks.runs.prepared_ranges import PreparedRange, prepared_ranges, survey
from tasks.runs.run_file import read_run_file, write_run_file
from tasks.runs.session import Run, shard_limits
from tasks.runs.source_changes import refuse_changed_ranges, source_change
from tasks.stages.plan import RequestPlan
from tasks.stages.read import Dataset
from tasks.stages.report.estimate import Estimate, together

SURVEYED_BYTES = 256 << 20
"""Of a source whose rows only reading tells: below it, reading it twice costs more than the wait for its first batch."""


def begin(run: Run, plan: RequestPlan) -> bool:
    """Survey the source of a run of which nothing is prepared, and let its ranges be prepared while they are posted.

    False, and nothing is done, where all has to be prepared before anything is posted. Raises, as `row_slices` of the plan
    does, for a source that cannot be taken.
    """
    if not _may_be_long(plan) or _is_prepared_whole(run, plan):
        return False
    ranges = survey([plan]).ranges
    if ranges < 2:
        return False
    dataset = plan.dataset
    if change := source_change(run.job, dataset.fingerprint):
        raise ConfigError(f"{run.job.source.path}: {change} while it was read; run the same command again")
    note_bad_lines(run, dataset)
    run.ledger.begin_ranges(
        plan.range_rows,
        ranges,
        source_fingerprint=dataset.fingerprint,
        bad_lines=dataset.bad_line_count,
        prompt_key=plan.prompt_key,
        prompt_kind=None if has_fees(run.job.prompt) else plan.prompt_kind,
    )
    run.reload()
    return True


def note_bad_lines(run: Run, dataset: Dataset) -> None:
    """Keep in the run's history which lines of its source were left out, and why."""
    for line in dataset.bad_lines:
        run.ledger.note("bad line", f"{line.path} line {line.line}: {line.reason}")


def _may_be_long(plan: RequestPlan) -> bool:
    if plan.ranges is not None:
        return plan.ranges > 1
    return sum(fragment.size for fragment in plan.dataset.fragments) > SURVEYED_BYTES


def _is_prepared_whole(run: Run, plan: RequestPlan) -> bool:
    """Whether what is posted first depends on the rows that come last: on their price, or on their answers."""
    job = run.job
    has_price_to_keep = job.budget.approve_above_usd is not None or spending_caps(job, run.clock.now(), None)
    asks_in_turn = job.prompt.cache == "prime" or job.deadline is not None
    # Rows with an earlier answer, and rows that name files, are few enough a chunk: their ranges would be uneven.
    looks_elsewhere = job.reuse is not None or bool(plan.renderer.file_columns)
    return bool(plan.own_prompt is not None or has_price_to_keep or asks_in_turn or looks_elsewhere)


class Preparation:
    """The ranges of a run that are being prepared in a thread; a Reporter for those that prepare them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._news, self._stop = threading.Event(), threading.Event()
        self.ended = False

    def wait(self, seconds: float) -> None:
        """Until another range is recorded, or preparing has ended, but not longer than that."""
        self._news.wait(seconds)
        self._news.clear()

    def stop(self) -> None:
        """End it at the next rows; what is recorded stays."""
        self._stop.set()

    def progress(self, progress: Progress) -> None:
        """Called between a few rows: ends it there when it is to stop. What is shown is told by those who wait."""
        del progress
        if self._stop.is_set():
            raise _Stopped

    def note(self, text: str) -> None:
        """Keep it beside what else has happened."""
        self._run.ledger.note("preparing", text)

    def prepare(self) -> None:
        """Record every range that is missing. ConfigError when the source is not the one that was surveyed."""
        try:
            record = self._run.ledger.read_run()
            chunks = self._run.ledger.chunks()
            adopted = _adopted(self._run, record, chunks)
            self._prepare(*(adopted or (record, chunks)))
        except _Stopped:
            return
        finally:
            self.ended = True
            self._news.set()

    def _prepare(self, record: RunRecord, chunks: tuple[ChunkRecord, ...]) -> None:
        if not record.ranges_missing:
            return
        run = self._run
        assert record.range_rows is not None
        try:
            refuse_changed_ranges(record, run.job)
            limits = shard_limits(run.job, run.service.limits)
            plan = RequestPlan(run.job, limits, run.service.limits.custom_id, record.range_rows)
            _remove_unrecorded(run, len(chunks))
            ranges = prepared_ranges(
                run,
                [plan],
                run.engine_for(record.range_rows * (record.ranges or 0)),
                self,
                first=record.ranges_prepared or 0,
                first_chunk=len(chunks) + 1,
                surveyed=True,
            )
            for prepared in ranges:
                chunks = (*chunks, *prepared.chunks)
                record = _record(run, record, plan, chunks, prepared)
                self._news.set()
        except InputError:
            refuse_changed_ranges(record, run.job)
            raise
        if record.ranges_missing:
            raise IntegrityError(
                f"{run.title}: {run.job.source.path} has {record.ranges_prepared} ranges, and had {record.ranges} when it was"
                " surveyed; nothing is published. Give another --key, which reads it anew"
            )


class _Stopped(Exception):
    """Whoever waited for the preparation has left."""


@contextmanager
def preparing(run: Run) -> Iterator[Preparation]:
    """Prepare in a thread what is missing of the run, while the block runs. When it ends by itself, what went wrong is raised."""
    preparation = Preparation(run)
    with ThreadPoolExecutor(1, thread_name_prefix="prepare") as executor:
        future: Future[None] = executor.submit(preparation.prepare)
        try:
            yield preparation
        finally:
            preparation.stop()
    future.result()


def _record(
    run: Run,
    record: RunRecord,
    plan: RequestPlan,
    chunks: tuple[ChunkRecord, ...],
    prepared: PreparedRange,
) -> RunRecord:
    """Record a range, if the source is as it was: first beside its files, for a ledger that may be lost."""
    refuse_changed_ranges(record, run.job)
    estimated = _added_estimate(run, record, plan, prepared)
    after = replace(
        record,
        estimate=estimated.as_json(),
        ranges_prepared=prepared.number + 1,
        prompt_kind=None if prepared.sample.uncounted else record.prompt_kind,
    )
    write_run_file(
        run.folder,
        after,
        chunks,
        after.source_fingerprint,
        after.bad_lines,
        after.estimate,
        after.ranges_prepared,
    )
    _add(run, after, prepared.chunks)
    return after


def _add(run: Run, record: RunRecord, chunks: tuple[ChunkRecord, ...]) -> None:
    run.ledger.add_chunks(
        chunks,
        ranges_prepared=record.ranges_prepared or 0,
        of=record.ranges or 0,
        estimate=record.estimate,
        prompt_kind=record.prompt_kind,
    )


def _added_estimate(run: Run, record: RunRecord, plan: RequestPlan, prepared: PreparedRange) -> Estimate:
    """The estimate of all ranges so far; how it was made is said of the last of them."""
    newest = estimate(
        run.job,
        record.created_at,
        sum(chunk.tokens_estimate for chunk in prepared.chunks),
        sum(chunk.requests for chunk in prepared.chunks),
        prepared.sample,
        history_of_plan(run.all_runs, plan),
    )
    if record.estimate is None:
        return newest
    methods = {name: value for name, value in newest if name.endswith(("method", "_source", "_date"))}
    return together([Estimate.model_validate(record.estimate), newest]).model_copy(update=methods)


def _adopted(
    run: Run, record: RunRecord, chunks: tuple[ChunkRecord, ...]
) -> tuple[RunRecord, tuple[ChunkRecord, ...]] | None:
    """The run with the ranges that its folder has recorded and this ledger has not: it was killed between the two, or is older."""
    found = read_run_file(run.folder)
    if found is None or found.id != run.id or len(found.chunks) <= len(chunks):
        return None
    after = replace(record, ranges_prepared=found.ranges_prepared, estimate=found.estimate)
    _add(run, after, found.chunks[len(chunks) :])
    return after, found.chunks


def _remove_unrecorded(run: Run, recorded: int) -> None:
    """Remove the files of chunks that no ledger knows: a range was not recorded before its process was killed."""
    names = [(int(name.split("/")[1]), name) for name in run.folder.names("chunks")]
    for number, name in names:
        if number > recorded and "/posting-" in name:
            raise IntegrityError(
                f"{run.title}: {run.folder.url}/{name}: was posted, and nothing says with which rows; nothing is posted again."
                " Look at the provider, then give another --key"
            )
    for number in sorted({number for number, _ in names if number > recorded}):
        run.folder.remove(f"chunks/{number:05d}")
