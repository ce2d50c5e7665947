"""Do everything that can be done for a run now, chunk by chunk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta

from configs.errors import BillingRefused, TerminalError, TransientError
from configs.frozen import seconds
from configs.progress import Progress, Reporter
from tasks.cancel_batch import abandon, cancel_batch
from tasks.collect import collect
from tasks.ledger.records import BatchRecord, ChunkRecord, RunRecord, situation
from tasks.ledger.transitions import (
    LONGEST_WAIT,
    NOT_POSTED,
    ChunkState,
    Step,
    next_step,
)
from tasks.merge import merge
from tasks.orchestration.events import emit_run_paused
from tasks.orchestration.side_by_side import side_by_side
from tasks.orchestration.sleep import PAUSED_FOR_BILLING, WAITS_FOR_APPROVAL
from tasks.orchestration.step import step
from tasks.poll import poll, poll_together, worth_listing
from tasks.runs.approval import missing_approval
from tasks.runs.faults import wait_after_fault, wait_after_refusal
from tasks.runs.history import revision
from tasks.runs.preparation import preparing
from tasks.runs.row_progress import RowProgress
from tasks.runs.session import Run
from tasks.stages.report.estimate_text import revision_text
from tasks.stages.report.formatting import count_with_noun
from tasks.submit import repost, submit

_STEPS: dict[Step, Callable[[Run, ChunkRecord], ChunkRecord]] = {
    Step.SUBMIT: submit,
    Step.POLL: poll,
    Step.REPOST: repost,
    Step.COLLECT: collect,
    Step.MERGE: merge,
    Step.CANCEL: cancel_batch,
    Step.ABANDON: abandon,
}
_POSTING = (Step.SUBMIT, Step.REPOST)
_LONGEST_LOOK = 60.0  # seconds until what is posted is looked at again, however the clock is set meanwhile
_CLOCKS_AGREE = timedelta(minutes=5)
_POSTED = (ChunkState.SUBMITTED, ChunkState.ENDED)
_BATCH_IS_DONE = (ChunkState.ENDED, ChunkState.COLLECTED, ChunkState.MERGED)


def _is_wide(run: Run) -> bool:
    """Whether many machines share the chunks: then a task for each step of each is more than Prefect's server should hear of."""
    return run.job.execution.engine == "dask"


@step("advance", "advance", when=lambda run, _: _is_wide(run))
def advance(run: Run, reporter: Reporter) -> datetime | None:
    """Take every chunk as far as it goes; when to look again, or None when all are merged.

    Chunks are taken along in up to `execution.transfers` threads. All are read once, at the beginning: what a step reads must
    not grow with their number. A TerminalError of one is raised when the others have come as far as they can: nothing more is
    posted, but what has ended is fetched. Any other error, and an interrupt, stops all of them at once.
    """
    run.posts = True
    chunks, posted = run.ledger.chunks(), run.ledger.posted_batches()
    due = {chunk.number for chunk in chunks if _next_step(run, chunk, posted.get(chunk.number)) is Step.POLL}
    if (listed := worth_listing(run, chunks, due, posted)) is not None:
        looked_at = poll_together(run, listed)
        chunks = tuple(looked_at[each.number][0] if each.number in looked_at else each for each in chunks)
        posted |= {number: batch for number, (_, batch) in looked_at.items()}
    walk = _Walk(run, chunks, posted, reporter)
    moving = [
        chunk
        for chunk in chunks
        if _next_step(run, chunk, posted.get(chunk.number)) not in (Step.WAIT, Step.DONE)
    ]
    moved = side_by_side(
        lambda chunk: walk.take_along(chunk, posted.get(chunk.number)),
        moving,
        _threads(run, moving),
        run.end_effects,
    )
    if walk.stopped is not None:
        raise walk.stopped
    after = {chunk.number: chunk for chunk in moved if chunk is not None}
    waiting = [until for chunk in chunks if (until := _until(run, after.get(chunk.number, chunk)))]
    longest = max(LONGEST_WAIT, timedelta(seconds=run.job.pace.max_seconds))
    return min((*waiting, run.clock.now() + longest)) if waiting else None


@step(
    "prepare and advance",
    "prepare and advance",
    when=lambda run, _: _is_wide(run) and run.record.ranges_missing > 0,
)
def advance_while_preparing(run: Run, reporter: Reporter) -> None:
    """Take every chunk along that is recorded, until the last range of the source is; the ranges are prepared in a thread.

    What goes wrong there is raised once what was recorded has been taken along: the run goes on from there later.
    """
    if not run.record.ranges_missing:
        return
    with preparing(run) as preparation:
        while True:
            has_ended = preparation.ended
            wake = advance(run, reporter)
            if has_ended:
                break
            now = run.clock.now()
            preparation.wait(
                min(_LONGEST_LOOK, max(0.0, ((wake or now + LONGEST_WAIT) - now).total_seconds()))
            )
            run.reload()
            prepared = run.record.ranges_prepared or 0
            reporter.progress(Progress("preparing", prepared, run.record.ranges, "ranges"))
    run.reload()
    reporter.note(f"prepared {count_with_noun(run.record.ranges or 0, 'range', 'ranges')} of the source")


def describe_wait(run: Run, wake: datetime) -> str:
    """What a sleeping run waits for and until when, in one line: the time is the job's. What matters most comes first, since
    Prefect's page shows about 70 characters of it."""
    if run.paused_until:
        return f"{paused_line(run)}; next look {wake.astimezone(run.job.zone):%H:%M}"
    chunks = run.ledger.chunks()
    done = sum(chunk.state in _BATCH_IS_DONE for chunk in chunks)
    rows = RowProgress(chunks, run.ledger.posted_batches()).progress
    reason = next((chunk.waiting_for for chunk in chunks if chunk.waiting_for), "")
    line = (
        f"{done:,}/{len(chunks):,} batches done, {rows.done:,}/{rows.total:,} rows,"
        f" next look {wake.astimezone(run.job.zone):%H:%M}"
    )
    if revised := revision(run.record, chunks, run.ledger.batches()):
        line = f"{line}; {revision_text(revised)}"
    return f"{line}; {reason}".rstrip("; ")


def state_for_a_person(run: Run) -> str | None:
    """The state in which the run waits for a person and has nothing else to look at before; None when it goes on by itself."""
    states = {chunk.state for chunk in run.ledger.chunks()} - {ChunkState.MERGED}
    if run.paused_until is not None:
        return PAUSED_FOR_BILLING if states <= {*NOT_POSTED} else None
    # What was begun before goes on without approval.
    return WAITS_FOR_APPROVAL if states == {ChunkState.PREPARED} and missing_approval(run) else None


def paused_line(run: Run) -> str:
    """That the run posts nothing, why, until when, and what ends it."""
    return _paused_line(run, run.record)


def _paused_line(run: Run, record: RunRecord) -> str:
    until = record.paused_until
    assert until is not None
    return (
        f"paused: {record.pause_reason}; nothing is posted until {until.astimezone(run.job.zone):%Y-%m-%d %H:%M}."
        " Put the account in order; Resume in Prefect, or the same command again, posts at once"
    )


def _until(run: Run, chunk: ChunkRecord) -> datetime | None:
    """When to look at the chunk again; None for one that is merged."""
    if chunk.state is ChunkState.MERGED:
        return None
    until = chunk.not_before or run.clock.now()  # a pause may be over by now
    return max(until, run.paused_until or until) if chunk.state in NOT_POSTED else until


def _threads(run: Run, moving: Sequence[ChunkRecord]) -> int:
    # Which request fills the prompt cache goes by the order of the chunks.
    primes = run.job.prompt.cache == "prime" and any(chunk.state in NOT_POSTED for chunk in moving)
    return 1 if primes else run.job.execution.transfers


class _OneAtATime:
    """A reporter for several threads."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._lock = reporter, threading.RLock()

    def progress(self, progress: Progress) -> None:
        with self._lock:
            self._reporter.progress(progress)

    def note(self, text: str) -> None:
        with self._lock:
            self._reporter.note(text)


class _Walk:
    """Chunks on their way, each in one thread, and what the threads share."""

    def __init__(
        self, run: Run, chunks: Sequence[ChunkRecord], posted: Mapping[int, BatchRecord], reporter: Reporter
    ) -> None:
        self.stopped: TerminalError | None = None
        self._run = run
        self._reporter = _OneAtATime(reporter)
        self._progress = RowProgress(chunks, posted)
        self._pause_told = run.record.paused_until
        self._sharing, self._counting = threading.Lock(), threading.Lock()
        self._rows = sum(chunk.rows for chunk in chunks)
        self._merges: threading.Semaphore | None = None

    def take_along(self, chunk: ChunkRecord, posted: BatchRecord | None) -> ChunkRecord | None:
        """One chunk, step by step, until it has to wait or is merged; None when it stops the run."""
        try:
            return self._take_along(chunk, posted)
        except TerminalError as error:
            with self._sharing:
                self._run.posts = False
                others, self.stopped = self.stopped, self.stopped or error
            if others is not None:
                self._reporter.note(f"warning: {error}")
            return None

    def _take_along(self, chunk: ChunkRecord, posted: BatchRecord | None) -> ChunkRecord:
        run = self._run
        while (step := _next_step(run, chunk, posted)) in _STEPS and (run.posts or step not in _POSTING):
            before = chunk.state
            chunk = self._perform(chunk, step)
            posted = run.ledger.batch(chunk) if chunk.state in _POSTED else None
            with self._sharing:
                self._progress.update(chunk, posted)
                self._reporter.progress(self._progress.progress)
            # What it waits for is no reason not to give it up; but where that cannot be done, it waits like any other.
            if step in (Step.ABANDON, Step.CANCEL) and chunk.state is before:
                break
        return chunk

    def _room_to_merge(self) -> threading.Semaphore:
        """Memory is one chunk for each process of the engine. TransientError where that cannot be reached."""
        with self._counting:  # no other thread waits for the cluster but those that merge
            if self._merges is None:
                self._merges = threading.Semaphore(self._run.engine_for(self._rows).processes)
            return self._merges

    def _perform(self, chunk: ChunkRecord, step: Step) -> ChunkRecord:
        run = self._run
        try:
            with self._room_to_merge() if step is Step.MERGE else nullcontext():
                after = _STEPS[step](run, chunk)
        except BillingRefused as error:
            run.pause(str(error))
            after = wait_after_refusal(run, run.ledger.chunk(chunk.number), error)
        except TransientError as error:
            # The step may have moved the chunk before it failed: go on from what the ledger knows.
            return wait_after_fault(run, run.ledger.chunk(chunk.number), error, self._reporter)
        finally:
            self._warn_of_clocks()
        self._warn_of_pause()
        if chunk.at_risk_since is None and after.at_risk_since is not None:
            run.ledger.note("at risk", f"chunk {after.number}: {after.waiting_for}")
            self._reporter.note(f"warning: chunk {after.number}: {after.waiting_for}")
        return after

    def _warn_of_pause(self) -> None:
        """Say once of each pause that it has begun."""
        record = self._run.record  # another thread may end the pause
        with self._sharing:
            if record.paused_until in (None, self._pause_told):
                return
            self._pause_told = record.paused_until
        line = _paused_line(self._run, record)
        self._reporter.note(f"warning: {line}")
        emit_run_paused(record, line)

    def _warn_of_clocks(self) -> None:
        """Say once that the provider's clock and ours differ: nothing depends on it here, but times are shown wrong."""
        run = self._run
        there, here = run.service.clock.now(), run.clock.now()
        with self._sharing:
            if there is None or run.clocks_compared:
                return
            run.clocks_compared = True
        if abs(there - here) > _CLOCKS_AGREE:
            ahead = "ahead of" if here > there else "behind"
            text = f"this machine's clock ({here:%Y-%m-%d %H:%M} UTC) is {ahead} the provider's ({there:%Y-%m-%d %H:%M} UTC)"
            run.ledger.note("clock", text)
            self._reporter.note(f"warning: {text}; set it right, the run goes by the provider's meanwhile")


def _next_step(run: Run, chunk: ChunkRecord, posted: BatchRecord | None) -> Step:
    provider = run.job.provider
    now = run.clock.now()
    seen = situation(
        chunk,
        posted,
        now,
        service_now=(run.service_of(posted) if posted else run.service).clock.now(),
        window_seconds=seconds(provider.completion_window) if provider.ends_in_time else None,
        longest_wait=timedelta(seconds=run.job.pace.max_seconds),
        giving_up=run.giving_up,
        paused=run.paused_until is not None,
        past_deadline=run.past_deadline,
    )
    return next_step(seen, now)
