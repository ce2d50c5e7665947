"""What becomes of a chunk whose step failed for now: until when it waits, and when that is said or ends the run."""

from __future__ import annotations

import random
from datetime import timedelta

from configs.errors import BillingRefused, LostReply, TerminalError, TransientError, UnreliableReply
from configs.frozen import seconds
from configs.progress import Reporter
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import NOT_POSTED, UNRELIABLE_REPLIES, fault_delay, unreliable_delay
from tasks.runs.session import Run


def wait_after_fault(run: Run, chunk: ChunkRecord, error: TransientError, reporter: Reporter) -> ChunkRecord:
    """The chunk as it waits before it is tried again. TerminalError after too many replies that cannot be the answer."""
    if isinstance(error, UnreliableReply):
        return _ask_again(run, chunk, error)
    run.reconnect(also_to_provider=False)
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


def wait_after_refusal(run: Run, chunk: ChunkRecord, error: BillingRefused) -> ChunkRecord:
    """What is not posted waits for the end of the pause; what is posted is looked at as after any fault."""
    now = run.clock.now()
    if chunk.state in NOT_POSTED:
        return run.ledger.postpone(chunk, now, str(error))
    wait = fault_delay(chunk.faults, random.random())  # noqa: S311 - jitter
    return run.ledger.postpone_after_fault(chunk, now + wait, str(error))


def _ask_again(run: Run, chunk: ChunkRecord, error: UnreliableReply) -> ChunkRecord:
    """Wait before a reply that cannot be the answer is asked for again over another connection; TerminalError after so many."""
    run.reconnect(also_to_provider=True)
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
