"""Post a chunk: intent, upload, create, adopt. Every effect is preceded by its intent in the ledger."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import QUEUE_FULL, SAME_FILE_POSTINGS, ChunkState, poll_delay
from tasks.orchestration.step import step
from tasks.runs.chunk_files import requests_name
from tasks.runs.session import Run
from tasks.runs.submission import adopt, confirm, file_name, submission_of


@step("submit", "submit chunk {chunk.number}")
def submit(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Take a chunk from wherever its posting stopped to a batch at the provider.

    What was begun by an earlier call (its reply may be lost) is looked for before anything is sent again.
    """
    begun_before = chunk.state is not ChunkState.PREPARED
    if chunk.state is ChunkState.PREPARED:
        postponed = _wait_for_room(run, chunk)
        if postponed is not None:
            return postponed
        chunk = _intend(run, chunk)
    if chunk.state is ChunkState.INTENDED:
        chunk = _upload(run, chunk, look_first=begun_before)
        begun_before = False
    return _create(run, chunk, look_first=begun_before)


@step("repost", "post chunk {chunk.number} again")
def repost(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Post the same file again after a failure that was not the file's: a full queue, a file not found yet."""
    batch = run.ledger.batch(chunk)
    wait = poll_delay(chunk.posting, run.job.pace.first_seconds, run.job.pace.max_seconds)
    reason = batch.error_text or batch.error_code or "the batch failed"
    values: dict[str, Any] = {
        "posting": chunk.posting + 1,
        "not_before": run.clock.now() + wait,
        "waiting_for": reason,
    }
    if batch.error_code != QUEUE_FULL and chunk.posting % SAME_FILE_POSTINGS == 0:
        return run.ledger.move(chunk, ChunkState.PREPARED, f"uploading again: {reason}", **values)
    next_batch = new_batch(run, chunk, chunk.posting + 1, file_id=batch.file_id)
    detail = f"posting the same file again: {reason}"
    return run.ledger.move(chunk, ChunkState.UPLOADED, detail, batch=next_batch, **values)


def _wait_for_room(run: Run, chunk: ChunkRecord) -> ChunkRecord | None:
    cap = run.job.limits.max_enqueued_tokens
    if cap is None:
        return None
    enqueued = run.all_runs.enqueued_tokens(run.service.account, run.job.prompt.model)
    if enqueued == 0 or enqueued + chunk.tokens_estimate <= cap:
        return None
    until = run.clock.now() + timedelta(seconds=run.job.pace.first_seconds)
    reason = f"waiting for room: about {enqueued:,} of {cap:,} tokens are enqueued (estimate)"
    return run.ledger.postpone(chunk, until, reason)


def _intend(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    batch = new_batch(run, chunk, chunk.posting)
    detail = f"posting {chunk.requests:,} requests as {batch.submission_key}"
    return run.ledger.move(chunk, ChunkState.INTENDED, detail, batch=batch)


def _upload(run: Run, chunk: ChunkRecord, *, look_first: bool) -> ChunkRecord:
    batch = run.ledger.batch(chunk)
    name = file_name(batch)
    file_id = run.service.find_upload(name, batch.intended_at) if look_first else None
    if file_id is None:
        run.ledger.check()
        with run.folder.read(requests_name(chunk.number, chunk.attempt)) as file:
            file_id = run.service.upload(name, file)
    detail = f"{name} is {file_id}" if file_id else "nothing to upload, the requests go with the batch"
    return run.ledger.move(chunk, ChunkState.UPLOADED, detail, batch_values={"file_id": file_id})


def _create(run: Run, chunk: ChunkRecord, *, look_first: bool) -> ChunkRecord:
    adopted = adopt(run, chunk) if look_first else None
    if adopted is not None:
        return adopted
    batch = run.ledger.batch(chunk)
    run.ledger.update_batch(chunk, create_sent_at=run.clock.now())
    created = run.service.create(submission_of(run, chunk, batch), batch.file_id or "")
    return confirm(run, chunk, created, "created")


def new_batch(run: Run, chunk: ChunkRecord, posting: int, file_id: str | None = None) -> BatchRecord:
    """The record of a posting that is about to be made."""
    key = f"{run.id}/{chunk.number}/{chunk.attempt}" + (f".{posting}" if posting > 1 else "")
    return BatchRecord(
        run_id=run.id,
        chunk=chunk.number,
        attempt=chunk.attempt,
        posting=posting,
        submission_key=key,
        account=run.service.account,
        model=run.job.prompt.model,
        requests=chunk.requests,
        bytes=chunk.bytes,
        tokens_estimate=chunk.tokens_estimate,
        intended_at=run.clock.now(),
        file_id=file_id,
    )
