"""Cancel a run: take it over from whoever works on it, and cancel its open batches at the provider."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from configs.clock import Clock
from configs.errors import LostReply, NotFound, TerminalError, TransientError
from configs.home import Home
from configs.job import Job
from configs.progress import Reporter
from tasks.advance import advance
from tasks.cancel_batch import cancel_batch
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import ChunkState, RunState
from tasks.orchestration import blocks
from tasks.orchestration.sleep import sleep_until
from tasks.publish import publish
from tasks.runs.lease import hold_lease
from tasks.runs.queries import find_run, open_ledger
from tasks.runs.session import Run
from tasks.runs.submission import adopt, begun_posting, release


def cancel_run(
    home: Home, environ: Mapping[str, str], clock: Clock, name: str, reporter: Reporter
) -> list[str]:
    """Take the run from whoever works on it and cancel its open batches; what was done, a line each.

    What they answered is kept: published at once when the job says `run.publish_cancelled`, and in any case
    the start of what `nightmail run` does later with the same job and key.
    """
    record = find_run(open_ledger(home), name)
    if record.state is RunState.FINISHED:
        return [f"{record.title} is finished; there is nothing to cancel"]
    service = blocks.connect(Job.model_validate(record.spec).provider, home, environ)
    with hold_lease(record, service, home, clock, to_cancel=True) as run:
        run.ledger.update_run(state=RunState.CANCELLED)
        chunks = run.ledger.chunks()
        done, failed = [], []
        for chunk in chunks:
            try:
                posted = chunk if chunk.state is ChunkState.SUBMITTED else begun_posting(run, chunk)
                if posted is not None:
                    done.append(_cancel(run, posted))
            except (TransientError, TerminalError) as error:  # the others still cost money
                failed.append(f"chunk {chunk.number}: {error}")
        run.ledger.note("cancelled", f"{len(done)} batches, {len(failed)} not yet")
        if failed:
            raise TransientError(
                f"{failed[0]}; {len(failed)} batches may still cost money, run the same command again"
            )
        if run.job.run.publish_cancelled and chunks and not run.record.ranges_missing:
            while wake := advance(run, reporter):
                run.close_engine()
                sleep_until(wake, "waiting for the cancelled batches", clock)
            publish(run)
            done.append(f"what was answered is in {run.job.output.path}")
    return [*done, f"{record.title} is cancelled; `nightmail run` with the same job and key goes on with it"]


def _cancel(run: Run, chunk: ChunkRecord) -> str:
    """Cancel a chunk's batch, also one whose creation nobody has confirmed yet."""
    posted: ChunkRecord | None = chunk
    if chunk.state is not ChunkState.SUBMITTED:
        try:
            posted = adopt(run, chunk)
        except LostReply:
            run.clock.sleep(run.job.pace.first_seconds)
            posted = adopt(run, chunk)
    if posted is None:
        release(run, chunk)
        return f"chunk {chunk.number}: nothing was posted"
    batch = run.ledger.batch(posted)
    if batch.cancel_asked_at is None:
        cancel_batch(run, posted)
    else:  # asked before, and noted then: the wait for its end goes on
        with suppress(NotFound):
            run.service_of(batch).cancel(batch.batch_id or "")
    return f"chunk {chunk.number}: {batch.batch_id} is being cancelled"
