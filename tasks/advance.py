"""Do everything that can be done for a run now, chunk by chunk."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from configs.errors import LostReply, TransientError
from configs.frozen import seconds
from configs.progress import Progress, Reporter
from tasks.cancel_batch import abandon, cancel_batch
from tasks.collect import collect
from tasks.ledger.records import ChunkRecord, situation
from tasks.ledger.transitions import LONGEST_WAIT, ChunkState, Step, fault_delay, next_step
from tasks.merge import merge
from tasks.poll import AT_RISK, poll
from tasks.runs.session import Run
from tasks.submit import repost, submit

_DO: dict[Step, Callable[[Run, ChunkRecord], ChunkRecord]] = {
    Step.SUBMIT: submit,
    Step.POLL: poll,
    Step.REPOST: repost,
    Step.COLLECT: collect,
    Step.MERGE: merge,
    Step.CANCEL: cancel_batch,
    Step.ABANDON: abandon,
}
_BATCH_IS_DONE = (ChunkState.ENDED, ChunkState.COLLECTED, ChunkState.MERGED)


def advance(run: Run, reporter: Reporter) -> datetime | None:
    """Take every chunk as far as it goes; when to look again, or None when all are merged."""
    chunks = {chunk.number: chunk for chunk in run.ledger.chunks(run.id)}
    for number in chunks:
        while (step := _next(run, chunks[number])) in _DO:
            chunks[number] = _perform(run, chunks[number], step, reporter)
            reporter.progress(overview(run, tuple(chunks.values())))
    waiting = [c.not_before for c in chunks.values() if c.state is not ChunkState.MERGED and c.not_before]
    longest = max(LONGEST_WAIT, timedelta(seconds=run.job.pace.max_seconds))
    return min((*waiting, run.clock.now() + longest)) if waiting else None


def why(run: Run, wake: datetime) -> str:
    """What a sleeping run waits for and until when, in one line: the time is the job's."""
    chunks = run.ledger.chunks(run.id)
    done = sum(chunk.state in _BATCH_IS_DONE for chunk in chunks)
    waiting = next((chunk.waiting_for for chunk in chunks if chunk.waiting_for), "")
    said = f"{done}/{len(chunks)} batches done, next look {wake.astimezone(run.job.zone):%H:%M}"
    return f"{said}; {waiting}".rstrip("; ")


def overview(run: Run, chunks: tuple[ChunkRecord, ...]) -> Progress:
    """Rows with a final outcome, counting what open batches say they have completed."""
    total = sum(chunk.rows for chunk in chunks)
    merged = [chunk for chunk in chunks if chunk.state is ChunkState.MERGED]
    open_numbers = {chunk.number: chunk for chunk in chunks if chunk.state is not ChunkState.MERGED}
    done = sum(chunk.rows for chunk in merged)
    for batch in run.ledger.batches(run.id):
        chunk = open_numbers.get(batch.chunk)
        if chunk and (batch.attempt, batch.posting) == (chunk.attempt, chunk.posting):
            done += chunk.rows - chunk.requests + min(batch.completed or 0, chunk.requests)
    return Progress("answering", done, total, "rows", f"{len(merged)}/{len(chunks)} chunks merged")


def _next(run: Run, chunk: ChunkRecord) -> Step:
    posted = chunk.state in (ChunkState.SUBMITTED, ChunkState.ENDED)
    provider = run.job.provider
    batch = run.ledger.batch(chunk) if posted else None
    now = run.clock.now()
    at = situation(
        chunk,
        batch,
        now,
        window_seconds=seconds(provider.completion_window) if provider.ends_in_time else None,
        longest_wait=timedelta(seconds=run.job.pace.max_seconds),
        giving_up=run.giving_up,
    )
    return next_step(at, now)


def _perform(run: Run, chunk: ChunkRecord, step: Step, reporter: Reporter) -> ChunkRecord:
    try:
        after = _DO[step](run, chunk)
    except TransientError as error:
        # The step may have moved the chunk before it failed: go on from what the ledger knows.
        latest = next(c for c in run.ledger.chunks(run.id) if c.number == chunk.number)
        wait = fault_delay(latest.faults, random.random(), error.retry_after_seconds)  # noqa: S311 - jitter
        if isinstance(error, LostReply):  # what it created may be listed a little later
            wait = max(wait, timedelta(seconds=run.job.pace.first_seconds))
        reason = _silence(run, latest, reporter) + str(error)
        return run.ledger.postpone(run.lease, latest, run.clock.now() + wait, reason, fault=True)
    _warn_of_loss(run, chunk, after, reporter)
    return after


def _warn_of_loss(run: Run, before: ChunkRecord, after: ChunkRecord, reporter: Reporter) -> None:
    """Say once that a batch is about to be lost whole."""
    was, now = before.waiting_for or "", after.waiting_for or ""
    if now.startswith(AT_RISK) and not was.startswith(AT_RISK):
        run.ledger.note(run.lease, "at risk", f"chunk {after.number}: {now.removeprefix(AT_RISK)}")
        reporter.note(f"warning: chunk {after.number}: {now}")


def _silence(run: Run, chunk: ChunkRecord, reporter: Reporter) -> str:
    """A warning once the provider has given no proper answer for as long as the job says; never a failure."""
    limit = run.job.run.warn_after
    if limit is None or chunk.silent_since is None:
        return ""
    if run.clock.now() - chunk.silent_since < timedelta(seconds=seconds(limit)):
        return ""
    warning = f"no proper answer for over {limit}: "
    if not (chunk.waiting_for or "").startswith(warning):
        reporter.note(f"warning: chunk {chunk.number}: {warning}{chunk.waiting_for}; the run goes on trying")
    return warning
