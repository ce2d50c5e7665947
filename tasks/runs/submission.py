"""One posting of a chunk as its service sees it: to create its batch, to find it again, and to write it down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

from configs.errors import LostReply
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState, poll_delay
from tasks.providers.base import ServiceBatch, Submission
from tasks.runs.chunk_files import requests_name
from tasks.runs.session import Run


def submission_of(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> Submission:
    """The batch that this posting of the chunk makes, or has made."""
    provider = run.job.provider
    return Submission(
        key=batch.submission_key,
        file_name=file_name(batch),
        endpoint=run.job.prompt.endpoint,
        model=batch.model,
        completion_window=provider.completion_window,
        requests=batch.requests,
        lines=partial(run.folder.read, requests_name(chunk.number, batch.attempt)),
        metadata={**provider.metadata, "job": run.job.name, "run": run.record.key},
        file_id=batch.file_id or "",
    )


def adopt(run: Run, chunk: ChunkRecord) -> ChunkRecord | None:
    """Take over the batch of a posting that nobody confirmed. None when there is none; LostReply: not known yet."""
    posted = _find_posted(run, chunk)
    return None if posted is None else confirm(run, chunk, posted, "adopted")


def confirm(run: Run, chunk: ChunkRecord, posted: ServiceBatch, how: str) -> ChunkRecord:
    """Write down that the chunk's posting has this batch; `how` it came to it goes into the history."""
    now = run.clock.now()
    values = {
        "batch_id": posted.id,
        "status": posted.status,
        "history": [[posted.status, now.isoformat()]],
        "submitted_at": now,
        "expires_at": posted.expires_at,
    }
    return run.ledger.move(
        chunk,
        ChunkState.SUBMITTED,
        f"{how} {posted.id}",
        batch_values=values,
        not_before=now + poll_delay(0, run.job.pace.first_seconds, run.job.pace.max_seconds),
        waiting_for=f"batch {posted.id}",
    )


def _find_posted(run: Run, chunk: ChunkRecord) -> ServiceBatch | None:
    """The batch that the chunk's posting has made, if any.

    An empty list proves nothing at once: after a lost reply or a killed process the service may still be creating it.
    It is believed after as long as a new batch is left alone before it is looked at; LostReply until then.
    """
    batch = run.ledger.batch(chunk)
    submission = replace(
        submission_of(run, chunk, batch),
        known_batch_ids=run.all_runs.batch_ids(batch.account, batch.intended_at),
        unconfirmed_others=run.all_runs.unconfirmed(batch),
    )
    posted = run.service.find(submission, batch.intended_at)
    settled = timedelta(seconds=run.job.pace.first_seconds)
    sent = batch.create_sent_at
    if posted is None and sent is not None and run.clock.now() - sent < settled:
        raise LostReply(f"batch {batch.submission_key}: may still be under creation; it is looked for again")
    return posted


def file_name(batch: BatchRecord) -> str:
    """The name of its request file at the provider."""
    return f"nightmail-{batch.submission_key.replace('/', '-')}.jsonl"
