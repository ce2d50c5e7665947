"""Do everything that can be done for a run now, chunk by chunk."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from configs.errors import LostReply, TransientError
from configs.frozen import seconds
from configs.progress import Reporter
from tasks.cancel_batch import abandon, cancel_batch
from tasks.collect import collect
from tasks.ledger.records import BatchRecord, ChunkRecord, situation
from tasks.ledger.transitions import LONGEST_WAIT, ChunkState, Step, fault_delay, next_step
from tasks.merge import merge
from tasks.poll import poll
from tasks.runs.row_progress import RowProgress
from tasks.runs.session import Run
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
_POSTED = (ChunkState.SUBMITTED, ChunkState.ENDED)
_BATCH_IS_DONE = (ChunkState.ENDED, ChunkState.COLLECTED, ChunkState.MERGED)


def advance(run: Run, reporter: Reporter) -> datetime | None:
    """Take every chunk as far as it goes; when to look again, or None when all are merged.

    All chunks are read once, at the beginning: what a step reads must not grow with their number.
    """
    chunks, posted = run.ledger.chunks(), run.ledger.posted_batches()
    progress = RowProgress(chunks, posted)
    after = [_take_along(run, chunk, posted.get(chunk.number), progress, reporter) for chunk in chunks]
    waiting = [c.not_before for c in after if c.state is not ChunkState.MERGED and c.not_before]
    longest = max(LONGEST_WAIT, timedelta(seconds=run.job.pace.max_seconds))
    return min((*waiting, run.clock.now() + longest)) if waiting else None


def describe_wait(run: Run, wake: datetime) -> str:
    """What a sleeping run waits for and until when, in one line: the time is the job's."""
    chunks = run.ledger.chunks()
    done = sum(chunk.state in _BATCH_IS_DONE for chunk in chunks)
    reason = next((chunk.waiting_for for chunk in chunks if chunk.waiting_for), "")
    line = f"{done}/{len(chunks)} batches done, next look {wake.astimezone(run.job.zone):%H:%M}"
    return f"{line}; {reason}".rstrip("; ")


def _take_along(
    run: Run, chunk: ChunkRecord, posted: BatchRecord | None, progress: RowProgress, reporter: Reporter
) -> ChunkRecord:
    """One chunk, step by step, until it has to wait or is merged."""
    while (step := _next_step(run, chunk, posted)) in _STEPS:
        chunk = _perform(run, chunk, step, reporter)
        posted = run.ledger.batch(chunk) if chunk.state in _POSTED else None
        progress.update(chunk, posted)
        reporter.progress(progress.progress)
    return chunk


def _next_step(run: Run, chunk: ChunkRecord, posted: BatchRecord | None) -> Step:
    provider = run.job.provider
    now = run.clock.now()
    seen = situation(
        chunk,
        posted,
        now,
        window_seconds=seconds(provider.completion_window) if provider.ends_in_time else None,
        longest_wait=timedelta(seconds=run.job.pace.max_seconds),
        giving_up=run.giving_up,
    )
    return next_step(seen, now)


def _perform(run: Run, chunk: ChunkRecord, step: Step, reporter: Reporter) -> ChunkRecord:
    try:
        after = _STEPS[step](run, chunk)
    except TransientError as error:
        # The step may have moved the chunk before it failed: go on from what the ledger knows.
        return _wait_after_fault(run, run.ledger.chunk(chunk.number), error, reporter)
    if chunk.at_risk_since is None and after.at_risk_since is not None:
        run.ledger.note("at risk", f"chunk {after.number}: {after.waiting_for}")
        reporter.note(f"warning: chunk {after.number}: {after.waiting_for}")
    return after


def _wait_after_fault(run: Run, chunk: ChunkRecord, error: TransientError, reporter: Reporter) -> ChunkRecord:
    now = run.clock.now()
    wait = fault_delay(chunk.faults, random.random(), error.retry_after_seconds)  # noqa: S311 - jitter
    if isinstance(error, LostReply):  # what it created may be listed a little later
        wait = max(wait, timedelta(seconds=run.job.pace.first_seconds))
    if not _is_silent_for_too_long(run, chunk):
        return run.ledger.postpone_after_fault(chunk, now + wait, str(error))
    reason = f"no proper answer for over {run.job.run.warn_after}: {error}"
    if chunk.silence_warned_at is None:
        reporter.note(f"warning: chunk {chunk.number}: {reason}; the run goes on trying")
    warned = chunk.silence_warned_at or now
    return run.ledger.postpone_after_fault(chunk, now + wait, reason, silence_warned_at=warned)


def _is_silent_for_too_long(run: Run, chunk: ChunkRecord) -> bool:
    """Whether the provider has given no proper answer for as long as the job says; a warning, never a failure."""
    limit = run.job.run.warn_after
    if limit is None or chunk.silent_since is None:
        return False
    return run.clock.now() - chunk.silent_since >= timedelta(seconds=seconds(limit))
