"""Describe a posting to its service, find its batch again after a lost reply, and record the batch in the ledger."""

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
    """The submission of this posting of the chunk: the same whether its batch is to be created or found again."""
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
    """Find and record the batch of an unconfirmed posting. None if there is none; LostReply while that is uncertain."""
    service_batch = _find_posted(run, chunk)
    return None if service_batch is None else confirm(run, chunk, service_batch, "adopted")


def confirm(run: Run, chunk: ChunkRecord, service_batch: ServiceBatch, verb: str) -> ChunkRecord:
    """Record the batch of the chunk's posting. `verb` (`created`, `adopted`) goes into the history."""
    now = run.clock.now()
    values = {
        "batch_id": service_batch.id,
        "status": service_batch.status,
        "history": [[service_batch.status, now.isoformat()]],
        "submitted_at": run.service.clock.now() or now,  # by the clock that its window is told by
        "adopted": verb == "adopted",
        "expires_at": service_batch.expires_at,
    }
    return run.ledger.move(
        chunk,
        ChunkState.SUBMITTED,
        f"{verb} {service_batch.id}",
        batch_values=values,
        not_before=now + poll_delay(0, run.job.pace.first_seconds, run.job.pace.max_seconds),
        waiting_for=f"batch {service_batch.id}",
    )


def _find_posted(run: Run, chunk: ChunkRecord) -> ServiceBatch | None:
    """The batch that the chunk's posting created, if any.

    A list without it proves nothing at first: after a lost reply or a killed process the service may still be creating
    it. Posting again then would pay twice, so LostReply is raised until `poll.first_seconds` have passed since the
    request.
    """
    batch = run.ledger.batch(chunk)
    submission = replace(
        submission_of(run, chunk, batch),
        known_batch_ids=run.all_runs.batch_ids(batch.account, batch.intended_at),
        unconfirmed_others=run.all_runs.unconfirmed(batch),
    )
    service_batch = run.service.find(submission, batch.intended_at)
    grace_period = timedelta(seconds=run.job.pace.first_seconds)
    create_sent_at = batch.create_sent_at
    if (
        service_batch is None
        and create_sent_at is not None
        and run.clock.now() - create_sent_at < grace_period
    ):
        raise LostReply(f"batch {batch.submission_key}: may still be under creation; it is looked for again")
    return service_batch


def file_name(batch: BatchRecord) -> str:
    """The name of the batch's request file at the provider. `clean` recognises our files by it."""
    return f"nightmail-{batch.submission_key.replace('/', '-')}.jsonl"
