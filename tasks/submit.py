"""Post a chunk: intent, upload, create, adopt. Every effect is preceded by its intent in the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tasks.ledger.caps import Refusal
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import (
    BATCH_CANCELLED,
    BILLING_REFUSED,
    QUEUE_FULL,
    SAME_FILE_POSTINGS,
    ChunkState,
    poll_delay,
)
from tasks.orchestration.step import step
from tasks.runs.approval import missing_approval
from tasks.runs.chunk_files import flexible, posted_name, requests_name
from tasks.runs.hand_over import stay
from tasks.runs.holding_back import hold_back, next_budget_look
from tasks.runs.postings import keep_copy, kept_copy
from tasks.runs.priming import wait_for_cache
from tasks.runs.session import Run
from tasks.runs.step_lines import chunk_line
from tasks.runs.submission import (
    adopt,
    begun_posting,
    confirm,
    file_name,
    intend_if_admitted,
    move_if_admitted,
    new_batch,
    readmit,
    released_if_refused,
    submission_of,
)


@step("submit", "submit chunk {chunk.number}", chunk_line)
def submit(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Take a chunk from wherever its posting stopped to a batch at the provider.

    What was begun by an earlier call (its reply may be lost) is looked for before anything is sent again, also when the
    ledger does not remember it.
    """
    begun = begun_posting(run, chunk)
    if begun is None:
        if (reason := missing_approval(run)) is not None:
            return run.ledger.postpone(chunk, next_budget_look(run), reason)
        if (postponed := wait_for_cache(run, chunk)) is not None:
            return postponed
        intended = intend_if_admitted(run, chunk)
        if not isinstance(intended, ChunkRecord):
            return hold_back(run, chunk, intended)
        chunk = intended
    else:
        chunk = _find_upload(run, begun)
        adopted = adopt(run, chunk)
        if adopted is not None:
            return adopted
        readmitted = readmit(run, chunk)
        if not isinstance(readmitted, ChunkRecord):
            in_lane = run.ledger.batch(chunk).lane is not None
            return (_give_way if in_lane else hold_back)(run, chunk, readmitted)
        chunk = readmitted
    if chunk.state is ChunkState.INTENDED:
        chunk = _upload(run, chunk)
    return _create(run, chunk)


@step("repost", "post chunk {chunk.number} again", chunk_line)
def repost(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Post the same file again after a failure that was not the file's: a full queue, a file not found yet."""
    batch = run.ledger.batch(chunk)
    pace = run.pace_of(batch)
    wait = poll_delay(chunk.posting, pace.first_seconds, pace.max_seconds)
    reason = batch.error_text or batch.error_code or "the batch failed"
    values: dict[str, Any] = {
        "posting": chunk.posting + 1,
        "not_before": run.after(wait),
        "waiting_for": reason,
    }
    is_unpaid = batch.error_code == BILLING_REFUSED
    if is_unpaid:
        values["not_before"] = None  # the run's pause is the wait
    if batch.error_code not in (QUEUE_FULL, BILLING_REFUSED) and chunk.posting % SAME_FILE_POSTINGS == 0:
        return run.ledger.move(chunk, ChunkState.PREPARED, f"uploading again: {reason}", **values)
    next_batch = new_batch(run, chunk, chunk.posting + 1, batch.file_id, batch.lane)
    detail = f"posting the same file again: {reason}"
    if kept_copy(run.folder, replace(chunk, posting=next_batch.posting)) is not None:
        # The ledger was restored: it may have been made, so caps do not matter, and it is looked for from when the copy says.
        moved = run.ledger.move(chunk, ChunkState.UPLOADED, detail, batch=next_batch, **values)
    else:
        admitted = move_if_admitted(run, chunk, ChunkState.UPLOADED, detail, next_batch, **values)
        if not isinstance(admitted, ChunkRecord):
            return hold_back(run, chunk, admitted)
        moved = admitted
    if is_unpaid:
        run.pause(f"batch {batch.batch_id}: {reason}")
    return moved


def _give_way(run: Run, chunk: ChunkRecord, refusal: Refusal) -> ChunkRecord:
    """Real-time calls that were refused for good, and that the caps do not carry any more: the next attempt is a batch."""
    reason = "no room for real-time calls"
    values = {"ended_at": run.clock.now(), "error_code": BATCH_CANCELLED, "error_message": reason}
    stays = stay(run, chunk, refusal)
    return run.ledger.move(stays, ChunkState.COLLECTED, f"not posted: {reason}", batch_values=values)


def _find_upload(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Record the upload of a posting that was begun before, where there is one."""
    if chunk.state is not ChunkState.INTENDED:
        return chunk
    batch = run.ledger.batch(chunk)
    file_id = run.service_of(batch).find_upload(file_name(batch), batch.intended_at)
    return chunk if file_id is None else _uploaded(run, chunk, file_name(batch), file_id)


def _upload(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    batch = run.ledger.batch(chunk)
    name = file_name(batch)
    if kept_copy(run.folder, chunk) is None:
        keep_copy(run.folder, batch)
    run.ledger.check()
    posted = posted_name(chunk.number, chunk.attempt, batch.lane)
    if batch.lane == "flex":
        _write_flexible(run, chunk, posted)
    with released_if_refused(run, chunk), run.folder.read(posted) as file:
        file_id = run.service_of(batch).upload(name, file)
    return _uploaded(run, chunk, name, file_id)


def _write_flexible(run: Run, chunk: ChunkRecord, name: str) -> None:
    with (
        run.folder.read(requests_name(chunk.number, chunk.attempt)) as before,
        run.folder.write(name) as after,
    ):
        for line in before:
            after.write(flexible(line))


def _uploaded(run: Run, chunk: ChunkRecord, name: str, file_id: str) -> ChunkRecord:
    detail = f"{name} is {file_id}" if file_id else "nothing to upload, the requests go with the batch"
    return run.ledger.move(chunk, ChunkState.UPLOADED, detail, batch_values={"file_id": file_id})


def _create(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    pause = run.record.paused_until
    if run.paused_until is not None or not run.posts:  # by another chunk, during the upload
        return run.ledger.postpone(chunk, run.clock.now(), "uploaded; nothing more is posted now")
    batch = replace(run.ledger.batch(chunk), create_sent_at=run.clock.now())
    keep_copy(run.folder, batch)
    run.ledger.update_batch(chunk, create_sent_at=batch.create_sent_at)
    with released_if_refused(run, chunk):
        created = run.service_of(batch).create(submission_of(run, chunk, batch), batch.file_id or "")
    if run.record.paused_until == pause:  # not one that another chunk began since
        run.end_pause(f"the provider took batch {created.id}")
    return confirm(run, chunk, created, "created")
