"""Do everything that can be done for a run now, chunk by chunk."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from configs.errors import BillingRefused, LostReply, TerminalError, TransientError, UnreliableReply
from configs.frozen import seconds
from configs.progress import Reporter
from tasks.cancel_batch import abandon, cancel_batch
from tasks.collect import collect
from tasks.ledger.records import BatchRecord, ChunkRecord, situation
from tasks.ledger.transitions import (
    LONGEST_WAIT,
    NOT_POSTED,
    UNRELIABLE_REPLIES,
    ChunkState,
    Step,
    fault_delay,
    next_step,
    unreliable_delay,
)
from tasks.merge import merge
from tasks.orchestration.events import emit_run_paused
from tasks.poll import poll
from tasks.runs.history import revision
from tasks.runs.row_progress import RowProgress
from tasks.runs.session import Run
from tasks.stages.report.estimate_text import revision_text
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
_CLOCKS_AGREE = timedelta(minutes=5)
_POSTED = (ChunkState.SUBMITTED, ChunkState.ENDED)
_BATCH_IS_DONE = (ChunkState.ENDED, ChunkState.COLLECTED, ChunkState.MERGED)


def advance(run: Run, reporter: Reporter) -> datetime | None:
    """Take every chunk as far as it goes; when to look again, or None when all are merged.

    All chunks are read once, at the beginning: what a step reads must not grow with their number. A TerminalError of one is
    raised when the others have come as far as they can: nothing more is posted, but what has ended is fetched.
    """
    chunks, posted = run.ledger.chunks(), run.ledger.posted_batches()
    progress = RowProgress(chunks, posted)
    after: list[ChunkRecord] = []
    stopped: TerminalError | None = None
    for chunk in chunks:
        try:
            batch = posted.get(chunk.number)
            after.append(_take_along(run, chunk, batch, progress, reporter, may_post=stopped is None))
        except TerminalError as error:
            if stopped is not None:
                reporter.note(f"warning: {error}")
            stopped = stopped or error
    if stopped is not None:
        raise stopped
    waiting = [until for chunk in after if (until := _until(run, chunk))]
    longest = max(LONGEST_WAIT, timedelta(seconds=run.job.pace.max_seconds))
    return min((*waiting, run.clock.now() + longest)) if waiting else None


def describe_wait(run: Run, wake: datetime) -> str:
    """What a sleeping run waits for and until when, in one line: the time is the job's."""
    if run.paused_until:
        return f"{paused_line(run)}; next look {wake.astimezone(run.job.zone):%H:%M}"
    chunks = run.ledger.chunks()
    done = sum(chunk.state in _BATCH_IS_DONE for chunk in chunks)
    reason = next((chunk.waiting_for for chunk in chunks if chunk.waiting_for), "")
    line = f"{done}/{len(chunks)} batches done, next look {wake.astimezone(run.job.zone):%H:%M}"
    if revised := revision(run.record, chunks, run.ledger.batches()):
        line = f"{line}; {revision_text(revised)}"
    return f"{line}; {reason}".rstrip("; ")


def waits_for_account(run: Run) -> bool:
    """Whether the run is paused and has nothing else to look at before that is over."""
    if run.paused_until is None:
        return False
    return all(chunk.state in (*NOT_POSTED, ChunkState.MERGED) for chunk in run.ledger.chunks())


def paused_line(run: Run) -> str:
    """That the run posts nothing, why, until when, and what ends it."""
    until = run.record.paused_until
    assert until is not None
    return (
        f"paused: {run.record.pause_reason}; nothing is posted until {until.astimezone(run.job.zone):%Y-%m-%d %H:%M}."
        " Put the account in order; Resume in Prefect, or the same command again, posts at once"
    )


def _until(run: Run, chunk: ChunkRecord) -> datetime | None:
    """When to look at the chunk again; None for one that is merged."""
    if chunk.state is ChunkState.MERGED:
        return None
    until = chunk.not_before or run.clock.now()  # a pause may be over by now
    return max(until, run.paused_until or until) if chunk.state in NOT_POSTED else until


def _take_along(
    run: Run,
    chunk: ChunkRecord,
    posted: BatchRecord | None,
    progress: RowProgress,
    reporter: Reporter,
    *,
    may_post: bool,
) -> ChunkRecord:
    """One chunk, step by step, until it has to wait or is merged."""
    while (step := _next_step(run, chunk, posted)) in _STEPS and (may_post or step not in _POSTING):
        before = chunk.state
        chunk = _perform(run, chunk, step, reporter)
        posted = run.ledger.batch(chunk) if chunk.state in _POSTED else None
        progress.update(chunk, posted)
        reporter.progress(progress.progress)
        if step is Step.ABANDON and chunk.state is before:  # what it waits for is no reason not to give it up
            break
    return chunk


def _next_step(run: Run, chunk: ChunkRecord, posted: BatchRecord | None) -> Step:
    provider = run.job.provider
    now = run.clock.now()
    seen = situation(
        chunk,
        posted,
        now,
        service_now=run.service.clock.now(),
        window_seconds=seconds(provider.completion_window) if provider.ends_in_time else None,
        longest_wait=timedelta(seconds=run.job.pace.max_seconds),
        giving_up=run.giving_up,
        paused=run.paused_until is not None,
    )
    return next_step(seen, now)


def _perform(run: Run, chunk: ChunkRecord, step: Step, reporter: Reporter) -> ChunkRecord:
    pauses = run.record.pauses
    try:
        after = _STEPS[step](run, chunk)
    except BillingRefused as error:
        run.pause(str(error))
        after = _after_refusal(run, run.ledger.chunk(chunk.number), error)
    except TransientError as error:
        # The step may have moved the chunk before it failed: go on from what the ledger knows.
        return _wait_after_fault(run, run.ledger.chunk(chunk.number), error, reporter)
    finally:
        _warn_of_clocks(run, reporter)
    if run.record.pauses > pauses:
        reporter.note(f"warning: {paused_line(run)}")
        emit_run_paused(run.record, paused_line(run))
    if chunk.at_risk_since is None and after.at_risk_since is not None:
        run.ledger.note("at risk", f"chunk {after.number}: {after.waiting_for}")
        reporter.note(f"warning: chunk {after.number}: {after.waiting_for}")
    return after


def _warn_of_clocks(run: Run, reporter: Reporter) -> None:
    """Say once that the provider's clock and ours differ: nothing depends on it here, but times are shown wrong."""
    there, here = run.service.clock.now(), run.clock.now()
    if there is None or run.clocks_compared:
        return
    run.clocks_compared = True
    if abs(there - here) > _CLOCKS_AGREE:
        ahead = "ahead of" if here > there else "behind"
        text = f"this machine's clock ({here:%Y-%m-%d %H:%M} UTC) is {ahead} the provider's ({there:%Y-%m-%d %H:%M} UTC)"
        run.ledger.note("clock", text)
        reporter.note(f"warning: {text}; set it right, the run goes by the provider's meanwhile")


def _wait_after_fault(run: Run, chunk: ChunkRecord, error: TransientError, reporter: Reporter) -> ChunkRecord:
    if isinstance(error, UnreliableReply):
        return _ask_again(run, chunk, error)
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


def _after_refusal(run: Run, chunk: ChunkRecord, error: BillingRefused) -> ChunkRecord:
    """What is not posted waits for the end of the pause; what is posted is looked at as after any fault."""
    now = run.clock.now()
    if chunk.state in NOT_POSTED:
        return run.ledger.postpone(chunk, now, str(error))
    wait = fault_delay(chunk.faults, random.random())  # noqa: S311 - jitter
    return run.ledger.postpone_after_fault(chunk, now + wait, str(error))


def _ask_again(run: Run, chunk: ChunkRecord, error: UnreliableReply) -> ChunkRecord:
    """Wait before a reply that cannot be the answer is asked for again over another connection; TerminalError after so many."""
    run.service.reconnect()
    replies = chunk.unreliable_replies + 1
    wait = fault_delay(chunk.faults, random.random(), unreliable_delay(replies - 1))  # noqa: S311 - jitter
    until = run.clock.now() + wait
    waiting = run.ledger.postpone_after_fault(chunk, until, str(error), unreliable_replies=replies)
    if replies < UNRELIABLE_REPLIES:
        return waiting
    raise TerminalError(
        f"chunk {chunk.number}: {error}; asked {replies} times. Nothing is posted again and nothing deleted at the provider:"
        " look there, then run the same command again; --set run.give_up_after=1s publishes what there is"
    )


def _is_silent_for_too_long(run: Run, chunk: ChunkRecord) -> bool:
    """Whether the provider has given no proper answer for as long as the job says; a warning, never a failure."""
    limit = run.job.run.warn_after
    if limit is None or chunk.silent_since is None:
        return False
    return run.clock.now() - chunk.silent_since >= timedelta(seconds=seconds(limit))
