"""What becomes of a chunk that may not be posted now: why, and until when."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from configs.errors import NotFound, TerminalError, TransientError
from tasks.ledger.caps import Holder, NoRoom, OverBudget, Quota, QuotaSource, Refusal
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import BATCH_CANCELLED, ChunkState
from tasks.runs.session import Run
from tasks.stages.cost.budget import reached_text

_STATED = re.compile(
    r"\blimit\b\W{0,3}([0-9][0-9,._ ]*[0-9]|[0-9])\s*(?:enqueued\s+)?tokens\b", re.IGNORECASE
)
_LOOKED_AT = 20  # batches of others at a look
_NAMED = 3  # runs in a line
_SOURCES = {
    QuotaSource.JOB: "limits.max_enqueued_tokens",
    QuotaSource.STATED: "the limit that the provider named",
    QuotaSource.GUESSED: "a limit below which the provider refused",
}


def stated_limit(refusal: str) -> int | None:
    """The limit of enqueued tokens that a service's refusal names, as in `Limit: 2,000,000 enqueued tokens`."""
    found = _STATED.search(refusal)
    return int(re.sub(r"\D", "", found[1])) if found else None


def hold_back(run: Run, chunk: ChunkRecord, refusal: Refusal) -> ChunkRecord:
    """Let the chunk wait, or go on without it where the job says so. TerminalError where it says to stop."""
    if isinstance(refusal, NoRoom):
        _look_at_forsaken(run, chunk, refusal)
        until = run.clock.now() + timedelta(seconds=run.job.pace.first_seconds)
        return run.ledger.postpone(chunk, until, _no_room_text(run, refusal))
    return _over_budget(run, chunk, refusal)


def _no_room_text(run: Run, refusal: NoRoom) -> str:
    quota = refusal.quota
    text = (
        f"waiting for room: about {refusal.enqueued:,} of {quota.tokens:,} tokens are enqueued (estimate)"
        f"{_by(refusal.holders)}; this is {_SOURCES[quota.source]}{_known_since(run, quota)}"
    )
    return (
        f"{text}; {refusal.goes_first} has waited for longer and goes first" if refusal.goes_first else text
    )


def _by(holders: tuple[Holder, ...]) -> str:
    largest = sorted(holders, key=lambda holder: -holder.tokens)
    named = [f"{each.title} ({each.tokens:,})" for each in largest[:_NAMED]]
    others = [f"{len(largest) - _NAMED} more runs"] if len(largest) > _NAMED else []
    return f" by {', '.join(named + others)}" if named else ""


def _known_since(run: Run, quota: Quota) -> str:
    if quota.known_since is None:
        return ""
    return f", known since {quota.known_since.astimezone(run.job.zone):%Y-%m-%d %H:%M}"


def _look_at_forsaken(run: Run, chunk: ChunkRecord, refusal: NoRoom) -> None:
    """See whether batches of runs that are over have ended: nobody else looks at them."""
    if not any(holder.is_over for holder in refusal.holders):
        return
    model = run.job_of(chunk).prompt.model
    for batch in run.all_runs.forsaken_batches(run.service.account, model)[:_LOOKED_AT]:
        try:
            has_ended = run.service.retrieve(batch.batch_id or "").status.ended
        except NotFound:
            has_ended = True
        except (TransientError, TerminalError):  # the next look asks again
            continue
        if has_ended:
            run.all_runs.note_left_queue(batch)


def _over_budget(run: Run, chunk: ChunkRecord, refusal: OverBudget) -> ChunkRecord:
    text = _reached_text(run, refusal)
    on_reach = run.job.budget.on_reach
    # What is on its way may cost less than it has reserved.
    if on_reach == "wait" or run.ledger.others_on_their_way(chunk):
        next_look = next_budget_look(run)
        return run.ledger.postpone(chunk, min(next_look, refusal.cap.until or next_look), text)
    if on_reach == "publish":
        is_released = chunk.state in (ChunkState.INTENDED, ChunkState.UPLOADED)
        values = {"error_code": BATCH_CANCELLED, "error_message": text} if is_released else None
        detail = f"not posted: {text}"
        return run.ledger.move(chunk, ChunkState.COLLECTED, detail, batch_values=values, not_posted=text)
    raise TerminalError(
        f"{run.title}: {text}; what was posted is collected. The same command goes on when there is room, e.g. with a"
        " higher budget; --set budget.on_reach=publish publishes the answers there are",
        code="budget_reached",
    )


def next_budget_look(run: Run) -> datetime:
    """When a chunk that waits for money is looked at again: what others' batches have cost may be known then."""
    return run.after(timedelta(seconds=run.job.pace.max_seconds))


def _reached_text(run: Run, refusal: OverBudget) -> str:
    cap = refusal.cap
    return reached_text(
        cap.name,
        cap.limit,
        refusal.spent,
        refusal.wanted,
        usd=cap.usd is not None,
        until=cap.until.astimezone(run.job.zone) if cap.until else None,
    )
