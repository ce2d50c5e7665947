"""Describe a posting to its service, find its batch again after a lost reply, and record the batch in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from configs.deadline import Lane
from configs.errors import ConfigError, LostReply, NotFound, TerminalError
from tasks.ledger.caps import Refusal
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState, poll_delay
from tasks.providers.base import BatchStatus, ServiceBatch, Submission
from tasks.runs.chunk_files import posted_name
from tasks.runs.hand_over import caps_for, reserved, stay
from tasks.runs.postings import keep_copy, kept_copy
from tasks.runs.session import Run

_LANE_WINDOW = "24h"  # of the embedded service; the provider's own are for its batches


def submission_of(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> Submission:
    """The submission of this posting of the chunk: the same whether its batch is to be created or found again."""
    provider = run.job.provider
    window = provider.completion_window if batch.lane is None else _LANE_WINDOW
    return Submission(
        key=batch.submission_key,
        file_name=file_name(batch),
        endpoint=run.job_of(chunk).prompt.endpoint,
        model=batch.model,
        completion_window=window,
        requests=batch.requests,
        lines=partial(run.folder.read, posted_name(chunk.number, batch.attempt, batch.lane)),
        metadata={**provider.metadata, "job": run.job.name, "run": run.record.key, **_described(run)},
        file_id=batch.file_id or "",
    )


def _described(run: Run) -> dict[str, str]:
    return {"description": run.job.description} if run.job.description else {}


def begun_posting(run: Run, chunk: ChunkRecord) -> ChunkRecord | None:
    """The chunk, if something of its posting may be at the provider: intended, as the ledger or only the run folder knows.

    None where nothing of it can have been posted.
    """
    if chunk.state in (ChunkState.INTENDED, ChunkState.UPLOADED):
        return chunk
    if chunk.state is ChunkState.PREPARED and kept_copy(run.folder, chunk) is not None:
        return intend(run, chunk)
    return None


def intend(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Record a posting that the run folder knows and the ledger does not. Caps do not matter: it may have been made."""
    batch = new_batch(run, chunk, chunk.posting)
    lane: dict[str, Any] = {"lane": batch.lane} if batch.lane else {}
    return run.ledger.move(chunk, ChunkState.INTENDED, _intent(chunk, batch), batch=batch, **lane)


def intend_if_admitted(run: Run, chunk: ChunkRecord) -> ChunkRecord | Refusal:
    """Record that a prepared chunk is about to be posted, if quota and budgets have room for it; else why not.

    After the deadline it is posted to real-time calls, as far as the deadline's caps carry it.
    """
    lane = run.lane_for(chunk)
    if lane is not None:
        batch = new_batch(run, chunk, chunk.posting, lane=lane)
        intent = _intent(chunk, batch)
        intended = move_if_admitted(run, chunk, ChunkState.INTENDED, intent, batch, lane=lane)
        if isinstance(intended, ChunkRecord):
            return intended
        chunk = stay(run, chunk, intended)
    batch = new_batch(run, chunk, chunk.posting)
    return move_if_admitted(run, chunk, ChunkState.INTENDED, _intent(chunk, batch), batch)


def move_if_admitted(
    run: Run, chunk: ChunkRecord, to: ChunkState, detail: str, batch: BatchRecord, **values: Any
) -> ChunkRecord | Refusal:
    """The chunk with its new batch, if quota and budgets have room for it; else why not. TerminalError as of `caps_for`."""
    return run.ledger.move_if_admitted(
        chunk,
        to,
        detail,
        batch=batch,
        configured=run.job.limits.max_enqueued_tokens if batch.lane is None else None,
        caps=caps_for(run, chunk, batch.lane),
        next_look=run.clock.now() + timedelta(seconds=run.job.pace.first_seconds),
        **values,
    )


def release(run: Run, chunk: ChunkRecord) -> None:
    """A posting that was begun has no batch: until it is tried again it takes neither room nor money."""
    run.ledger.update_batch(chunk, ended_at=run.clock.now())


@contextmanager
def released_if_refused(run: Run, chunk: ChunkRecord) -> Iterator[None]:
    """Release the posting when the provider refuses it for good. What may have been posted stays reserved."""
    try:
        yield
    except (TerminalError, ConfigError):
        release(run, chunk)
        raise


def readmit(run: Run, chunk: ChunkRecord) -> ChunkRecord | Refusal:
    """The chunk as it is; one that was released, if quota and budgets have room for it again, else why not."""
    batch = run.ledger.batch(chunk)
    if batch.ended_at is None:
        return chunk
    again = replace(batch, ended_at=None)
    return move_if_admitted(run, chunk, chunk.state, f"trying {batch.submission_key} again", again)


def _intent(chunk: ChunkRecord, batch: BatchRecord) -> str:
    lane = f" to {batch.lane} real-time calls" if batch.lane else ""
    return f"posting {chunk.requests:,} requests as {batch.submission_key}{lane}"


def new_batch(
    run: Run, chunk: ChunkRecord, posting: int, file_id: str | None = None, lane: Lane | None = None
) -> BatchRecord:
    """The record of a posting. One that the ledger does not remember was intended when its copy says, and for what; whose
    calls another home may have begun, stays that home's."""
    key = f"{run.id}/{chunk.number}/{chunk.attempt}" + (f".{posting}" if posting > 1 else "")
    copy = kept_copy(run.folder, replace(chunk, posting=posting))
    lane = copy.lane if copy else lane
    known_account = copy.account if copy and copy.lane else None
    job = run.job_of(chunk)
    reserved_tokens, reserved_usd = reserved(
        run, job, chunk.tokens_estimate, chunk.requests, lane, is_first=chunk.attempt == 1
    )
    return BatchRecord(
        run_id=run.id,
        chunk=chunk.number,
        attempt=chunk.attempt,
        posting=posting,
        submission_key=key,
        account=known_account or (run.service if lane is None else run.lane_service).account,
        model=job.prompt.model,
        requests=chunk.requests,
        bytes=chunk.bytes,
        tokens_estimate=chunk.tokens_estimate,
        intended_at=copy.intended_at if copy else run.clock.now(),
        file_id=file_id,
        provider=run.job.provider.name,
        reserved_tokens=reserved_tokens,
        reserved_usd=reserved_usd,
        lane=lane,
    )


def adopt(run: Run, chunk: ChunkRecord) -> ChunkRecord | None:
    """Find and record the batch of an unconfirmed posting. None if there is none; LostReply while that is uncertain."""
    service_batch = _find_posted(run, chunk)
    return None if service_batch is None else confirm(run, chunk, service_batch, "adopted")


def confirm(run: Run, chunk: ChunkRecord, service_batch: ServiceBatch, verb: str) -> ChunkRecord:
    """Record the batch of the chunk's posting. `verb` (`created`, `adopted`) goes into the history."""
    batch, copy = run.ledger.batch(chunk), kept_copy(run.folder, chunk)
    # A copy that names this batch may know more, such as how it ended.
    if copy is None or copy.batch_id != service_batch.id:
        keep_copy(run.folder, replace(batch, batch_id=service_batch.id))
    now = run.clock.now()
    pace = run.pace_of(batch)
    values = {
        "batch_id": service_batch.id,
        "status": service_batch.status,
        "history": [[service_batch.status, now.isoformat()]],
        "submitted_at": run.service_of(batch).clock.now() or now,  # by the clock that its window is told by
        "adopted": verb == "adopted",
        "expires_at": service_batch.expires_at,
        "ended_at": None,  # of a posting that was released
    }
    return run.ledger.move(
        chunk,
        ChunkState.SUBMITTED,
        f"{verb} {service_batch.id}",
        batch_values=values,
        not_before=run.after(poll_delay(0, pace.first_seconds, pace.max_seconds)),
        waiting_for=f"{batch.noun} {service_batch.id}",
    )


def _find_posted(run: Run, chunk: ChunkRecord) -> ServiceBatch | None:
    """The batch that the chunk's posting created, if any.

    A list without it proves nothing at first: after a lost reply or a killed process the service may still be creating
    it. Posting again then would pay twice, so LostReply is raised until `poll.first_seconds` have passed since the
    request. A batch whose id the run folder knows is asked for by it.
    """
    batch = run.ledger.batch(chunk)
    copy = kept_copy(run.folder, chunk)
    if copy is not None and copy.batch_id is not None:
        return known_batch(run, chunk, copy.batch_id)
    known_ids, others = _other_postings(run, batch)
    submission = replace(
        submission_of(run, chunk, batch), known_batch_ids=known_ids, unconfirmed_others=others
    )
    service_batch = run.service_of(batch).find(submission, batch.intended_at)
    if service_batch is not None and service_batch.key is None and not batch.file_id:
        known_now, others_now = _other_postings(run, batch)
        if service_batch.id in known_now or others_now > others:  # posted by another thread or run meanwhile
            raise LostReply(
                f"batch {batch.submission_key}: {service_batch.id} may be another posting's; it is looked for again"
            )
    grace_period = timedelta(seconds=run.pace_of(batch).first_seconds)
    create_sent_at = (copy or batch).create_sent_at
    if (
        service_batch is None
        and create_sent_at is not None
        and run.clock.now() - create_sent_at < grace_period
    ):
        raise LostReply(f"batch {batch.submission_key}: may still be under creation; it is looked for again")
    return service_batch


def _other_postings(run: Run, batch: BatchRecord) -> tuple[frozenset[str], int]:
    """The ids of batches that are known to be others', and how many other postings of that size have none yet. An intent is
    recorded before its batch can be listed, so what is read after a list knows of all that it shows."""
    known_ids = run.all_runs.batch_ids(batch.account, batch.intended_at)
    return known_ids, run.all_runs.unconfirmed(batch)


def known_batch(run: Run, chunk: ChunkRecord, batch_id: str) -> ServiceBatch:
    """The batch of the chunk, as its service has it; as it ended where the service has it no more.

    TerminalError when only its results could tell, and they are gone: posting again might pay twice.
    """
    batch = run.ledger.batch(chunk)
    try:
        return run.service_of(batch).retrieve(batch_id).confirmed(batch.submission_key)
    except NotFound as error:
        copy = kept_copy(run.folder, chunk)
        if copy is None or copy.batch_id != batch_id or copy.ended_at is None or copy.status is None:
            raise TerminalError(
                f"chunk {chunk.number}: {error}; it was posted before, and nothing is posted again on a guess:"
                " another --key asks all rows anew",
                code=error.code,
            ) from error
    return ServiceBatch(
        id=batch_id,
        status=BatchStatus(copy.status),
        total=copy.total,
        completed=copy.completed,
        failed=copy.failed,
        result_files=copy.result_files,
        error_code=copy.error_code,
        error_message=copy.error_message,
        error_line=copy.error_line,
        expires_at=copy.expires_at,
    )


def file_name(batch: BatchRecord) -> str:
    """The name of the batch's request file at the provider. `clean` recognises our files by it."""
    return f"nightmail-{batch.submission_key.replace('/', '-')}.jsonl"
