"""The life of a chunk: its states, the moves between them, and the one decision "what next".

prepared ▸ intended ▸ uploaded ▸ submitted ▸ ended ▸ collected ▸ merged
    ▲                    ▲                     │          │
    │                    └── the same file ────┤          │
    ├─────────────────────── a new upload ─────┘          │
    └─────────────────────── the next attempt ────────────┘

A run that gives up takes whatever is not posted straight to collected, and asks for the end of what is. After the job's
deadline, what the deadline's caps carry goes the same way, and its next attempt is answered by real-time calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from configs.errors import BillingRefused


class ChunkState(StrEnum):
    """What the ledger is sure of."""

    PREPARED = "prepared"
    INTENDED = "intended"
    UPLOADED = "uploaded"
    SUBMITTED = "submitted"
    ENDED = "ended"
    COLLECTED = "collected"
    MERGED = "merged"


MOVES: dict[ChunkState, frozenset[ChunkState]] = {
    ChunkState.PREPARED: frozenset({ChunkState.INTENDED, ChunkState.COLLECTED}),
    # To submitted: a ledger that is older than its run finds the batch at the provider.
    # To itself: a posting that was refused is admitted anew.
    ChunkState.INTENDED: frozenset(
        {ChunkState.INTENDED, ChunkState.UPLOADED, ChunkState.SUBMITTED, ChunkState.COLLECTED}
    ),
    ChunkState.UPLOADED: frozenset({ChunkState.UPLOADED, ChunkState.SUBMITTED, ChunkState.COLLECTED}),
    ChunkState.SUBMITTED: frozenset({ChunkState.SUBMITTED, ChunkState.ENDED}),
    ChunkState.ENDED: frozenset({ChunkState.COLLECTED, ChunkState.UPLOADED, ChunkState.PREPARED}),
    ChunkState.COLLECTED: frozenset({ChunkState.MERGED, ChunkState.PREPARED}),
    ChunkState.MERGED: frozenset({ChunkState.COLLECTED}),  # a run that was over goes on: RunLedger.reopen
}


class RunState(StrEnum):
    """Where a run is."""

    PREPARING = "preparing"
    RUNNING = "running"
    PUBLISHING = "publishing"
    FINISHED = "finished"
    CANCELLED = "cancelled"


# Nothing goes on in such a run unless somebody runs it again.
INACTIVE = (RunState.FINISHED, RunState.CANCELLED)


class Step(StrEnum):
    """What can be done for a chunk now."""

    WAIT = "wait"
    SUBMIT = "submit"
    POLL = "poll"
    REPOST = "repost"
    CANCEL = "cancel"
    ABANDON = "abandon"
    COLLECT = "collect"
    MERGE = "merge"
    DONE = "done"


@dataclass(frozen=True)
class Situation:
    """All that the decision needs: the chunk as the ledger has it and the batch's last word."""

    state: ChunkState
    requests: int
    not_before: datetime | None
    posting: int = 1
    error_code: str | None = None  # of a batch that ended as failed
    giving_up: bool = False  # the run has had its time
    paused: bool = False  # the account cannot pay: nothing is posted
    # The job's deadline has passed, and nobody has said yet how its rows are asked from here on.
    hurries: bool = False
    leaves_batch: bool = False  # the rest of its batch is to be asked by real-time calls
    has_results: bool = False  # of the batch that ended
    overdue: bool = False  # the batch is long past its window
    cancel_asked: bool = False
    cancel_ignored: bool = False  # and nothing came of it


QUEUE_FULL = (
    "token_limit_exceeded"  # not the file's fault and not an attempt: the same file, when there is room
)
# Nor is an account that cannot pay: the same file, when the run's pause is over.
BILLING_REFUSED = BillingRefused.CODE
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=15), timedelta(hours=4)
BATCH_CANCELLED = "batch_cancelled"  # the code that rows get whose batch was ended, or never posted
FILE_NOT_FOUND = "file_not_found"  # seen right after an upload: the same file, then another upload
OVERDUE_AFTER = timedelta(hours=1)  # services finish late; one that is stuck does not finish
CANCEL_TAKES = timedelta(minutes=30)  # OpenAI says up to ten
UNRELIABLE_REPLIES = 5  # in a row: what is still wrong after them is not put right by asking
LONGEST_WAIT = timedelta(hours=1)  # also when Retry-After asks for more, or the clock was set back
TRUSTED_FAULTS = 10  # in a row; how often a Retry-After shorter than our own wait is taken at its word
SAME_FILE_POSTINGS = 3
MAX_FILE_NOT_FOUND_POSTINGS = 6


NOT_POSTED = (ChunkState.PREPARED, ChunkState.INTENDED, ChunkState.UPLOADED)


def worth_reposting(situation: Situation) -> bool:
    """Whether a failed batch may be posted again as it is."""
    if situation.error_code == FILE_NOT_FOUND:
        return situation.posting < MAX_FILE_NOT_FOUND_POSTINGS
    if situation.error_code == BILLING_REFUSED:
        return not situation.has_results
    return situation.error_code == QUEUE_FULL


_STEP_FROM: dict[ChunkState, Step] = {
    ChunkState.PREPARED: Step.SUBMIT,
    ChunkState.INTENDED: Step.SUBMIT,
    ChunkState.UPLOADED: Step.SUBMIT,
    ChunkState.SUBMITTED: Step.POLL,
    ChunkState.ENDED: Step.COLLECT,
    ChunkState.COLLECTED: Step.MERGE,
    ChunkState.MERGED: Step.DONE,
}


def next_step(situation: Situation, now: datetime) -> Step:
    """What to do for a chunk now; `WAIT` until its `not_before`."""
    state = situation.state
    if situation.giving_up and state in NOT_POSTED:
        return Step.ABANDON
    if state is ChunkState.SUBMITTED and (situation.giving_up or situation.overdue):
        if not situation.cancel_asked:
            return Step.CANCEL
        if situation.cancel_ignored:
            return Step.ABANDON
    # One that does not end although it is cancelled may still be answering: its rows are asked by nobody else meanwhile.
    if state is ChunkState.SUBMITTED and situation.leaves_batch and not situation.cancel_asked:
        return Step.CANCEL
    wait = situation.not_before
    if wait is not None and now < wait and state is not ChunkState.MERGED:
        return Step.WAIT
    if state is ChunkState.PREPARED and situation.requests == 0:
        return Step.COLLECT
    if situation.paused and state in NOT_POSTED and not situation.giving_up:
        return Step.WAIT
    if state in (ChunkState.INTENDED, ChunkState.UPLOADED) and situation.hurries:
        return Step.ABANDON
    # Real-time calls need no room in it.
    left_queue = situation.hurries and situation.error_code == QUEUE_FULL
    goes_on = not (situation.giving_up or left_queue)
    if state is ChunkState.ENDED and worth_reposting(situation) and goes_on:
        return Step.REPOST
    return _STEP_FROM[state]


def poll_delay(polls: int, first_seconds: float, max_seconds: float) -> timedelta:
    """From first_seconds, half as much again each time, never above max_seconds."""
    growth = 1.5 ** min(polls, 60)
    return timedelta(seconds=min(max_seconds, first_seconds * growth))


def fault_delay(faults: int, spread: float, retry_after_seconds: float | None = None) -> timedelta:
    """How long to wait after the n-th transient error in a row: doubling from 2 s to 5 min.

    `spread` in 0..1 is the jitter (adds up to half). What the provider asks for is what is waited, also a fraction of a
    second, and up to an hour; one that has asked `TRUSTED_FAULTS` times and given no answer is only asked more slowly.
    """
    backoff = min(300.0, 2.0 * 2 ** min(faults, 10))
    asked = retry_after_seconds or 0.0
    seconds = asked if asked and faults < TRUSTED_FAULTS else max(backoff, asked)
    return min(LONGEST_WAIT, timedelta(seconds=seconds * (1 + spread / 2)))


def unreliable_delay(replies: int) -> float:
    """Seconds before the n-th reply that cannot be the answer is asked for again: four minutes for all of them."""
    return 15.0 * 2.0 ** min(replies, 10)


def pause_length(pauses: int) -> timedelta:
    """How long a run pauses for the account after so many pauses in a row: 15 minutes, doubling, at most four hours."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(pauses, 10)))
