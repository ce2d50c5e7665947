"""The job of one chunk: of a file of ready requests, each chunk has a prompt of its own."""

from __future__ import annotations

from collections.abc import Iterable

from configs.job import Job
from configs.prompt import Prompt
from tasks.ledger.records import ChunkRecord


def job_of(job: Job, chunk: ChunkRecord) -> Job:
    """The job with what the chunk's requests ask as its prompt."""
    if chunk.prompt is None:
        return job
    return job.model_copy(update={"prompt": Prompt.model_validate(chunk.prompt)})


def jobs_by_model(job: Job, chunks: Iterable[ChunkRecord]) -> dict[str, Job]:
    """By model, what the chunks ask; of most runs, the job itself."""
    return {each.prompt.model: each for each in (job_of(job, chunk) for chunk in chunks)} or {
        job.prompt.model: job
    }
