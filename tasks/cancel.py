"""Stop paying for a run."""

from __future__ import annotations

from collections.abc import Mapping

from configs.home import Home
from configs.job import Job
from tasks import providers
from tasks.inspect import find_run, open_ledger
from tasks.ledger.owner import is_gone, me
from tasks.ledger.records import BatchRecord
from tasks.ledger.states import ChunkState, RunState
from tasks.providers.base import BatchService
from tasks.runs import LEASE_SECONDS


def cancel_run(home: Home, environ: Mapping[str, str], name: str) -> list[str]:
    """Take the run from whoever works on it and cancel its open batches; a line for each.

    What they answered is kept, and `nightmail run` goes on from there.
    """
    ledger = open_ledger(home)
    run = find_run(ledger, name)
    assert ledger is not None
    if run.state is RunState.FINISHED:
        return [f"{run.title} is finished; there is nothing to cancel"]
    service = providers.connect(Job.model_validate(run.spec).provider, home, environ)
    lease = ledger.claim(run.id, me(), LEASE_SECONDS, is_gone, force=True)
    try:
        ledger.update_run(lease, state=RunState.CANCELLED)
        at_provider = (ChunkState.UPLOADED, ChunkState.SUBMITTED)
        open_chunks = [chunk for chunk in ledger.chunks(run.id) if chunk.state in at_provider]
        lines = [_cancel(service, ledger.batch(chunk)) for chunk in open_chunks]
        ledger.note(lease, "cancelled", f"{len(lines)} batches")
        return [
            *lines,
            f"{run.title} is cancelled; `nightmail run` with the same job and key goes on with it",
        ]
    finally:
        ledger.release(lease)


def _cancel(service: BatchService, batch: BatchRecord) -> str:
    """Cancel a batch, also one whose creation nobody has confirmed yet."""
    if batch.batch_id is None:
        found = service.find(batch.submission_key, batch.intended_at)
        if found is None:
            return f"chunk {batch.chunk}: nothing was posted"
        service.cancel(found.id)
        return f"chunk {batch.chunk}: {found.id} is being cancelled"
    service.cancel(batch.batch_id)
    return f"chunk {batch.chunk}: {batch.batch_id} is being cancelled"
