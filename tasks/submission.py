"""What a posting looks like to its service: to create its batch, and to find it again."""

from __future__ import annotations

from functools import partial

from tasks.chunk_folder import requests_name
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.providers.base import Submission
from tasks.runs import Run


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
        taken=run.ledger.batch_ids(batch.account, batch.intended_at),
        file_id=batch.file_id or "",
        rivals=run.ledger.unconfirmed(batch),
    )


def file_name(batch: BatchRecord) -> str:
    """The name of its request file at the provider."""
    return f"nightmail-{batch.submission_key.replace('/', '-')}.jsonl"
