"""Find in the ledger what earlier batches teach of a prompt, and what a run's own finished chunks say of the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from configs.job import Job
from tasks.ledger.records import BatchRecord, ChunkRecord, RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState
from tasks.runs.estimates import usd_of
from tasks.runs.prices import price_of
from tasks.stages.cost.calibration import CountedBatch, History
from tasks.stages.report.estimate import Revision

if TYPE_CHECKING:  # it brings Arrow along, and lists of runs do without
    from tasks.stages.plan import RequestPlan

_NEWEST: Final = 20  # batches; models are changed under their names, so older ones teach less


def history_of(ledger: Ledger | None, prompt_key: str, prompt_kind: str) -> History | None:
    """The newest finished batches of the same prompt, else of prompts of its kind at the same provider; None without any."""
    if ledger is None:
        return None
    same = counted(ledger.counted_batches(_NEWEST, prompt_key=prompt_key))
    if same:
        return History(same, same_prompt=True)
    alike = counted(ledger.counted_batches(_NEWEST, prompt_kind=prompt_kind))
    return History(alike, same_prompt=False) if alike else None


def history_of_plan(ledger: Ledger | None, request_plan: RequestPlan) -> History | None:
    """The same for what is about to be posted; None for ready requests: nobody knows which others are like them."""
    if request_plan.own_prompt is not None:
        return None
    return history_of(ledger, request_plan.prompt_key, request_plan.prompt_kind)


def counted(batches: Sequence[BatchRecord]) -> list[CountedBatch]:
    """Those of the batches that say how many tokens they took."""
    return [
        CountedBatch(
            requests=batch.requests,
            estimated_tokens=batch.tokens_estimate,
            counted=batch.counted_requests,
            input_tokens=batch.input_tokens or 0,
            output_tokens=batch.output_tokens or 0,
            output_p95=batch.output_p95 or 0,
        )
        for batch in batches
        if batch.counted_requests and batch.requests and batch.tokens_estimate
    ]


def revision(
    run: RunRecord, chunks: Sequence[ChunkRecord], batches: Sequence[BatchRecord]
) -> Revision | None:
    """What the whole run comes to by those of its chunks that are finished; None before the first, and after the last.

    What is not answered yet is priced as plain input.
    """
    known = counted(batches)
    waiting = [chunk for chunk in chunks if chunk.state is not ChunkState.MERGED]
    # Its chunk's other requests are counted when they follow.
    one_ahead = any(chunk.requests == 1 < chunk.rows and chunk.attempt > 1 for chunk in waiting)
    several = any(chunk.prompt is not None for chunk in chunks)  # of which none tells of the others
    if not known or not waiting or one_ahead or several:
        return None
    history = History(known, same_prompt=True)
    requests = sum(chunk.requests for chunk in waiting)
    prompt = round(sum(chunk.tokens_estimate for chunk in waiting) * history.factor)
    output = round(requests * history.output_mean)
    paid = [batch.cost_usd for batch in batches if batch.counted_requests]
    job = Job.model_validate(run.spec)
    rest = usd_of(price_of(job, run.created_at), prompt, output, requests)
    return Revision(
        finished_chunks=len(chunks) - len(waiting),
        chunks=len(chunks),
        prompt_tokens=sum(batch.input_tokens or 0 for batch in batches) + prompt,
        output_tokens=sum(batch.output_tokens or 0 for batch in batches) + output,
        cost_usd=None if rest is None or None in paid else rest + sum(usd for usd in paid if usd is not None),
    )
