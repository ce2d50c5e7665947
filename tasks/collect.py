"""Download the result files of a batch into the run folder, byte for byte, each whole before it has its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, cast

from configs.errors import NotFound, TerminalError, UnreliableReply
from tasks.ledger.records import RESULTS_INCOMPLETE, BatchRecord, ChunkRecord
from tasks.ledger.transitions import UNRELIABLE_REPLIES, ChunkState
from tasks.orchestration.step import step
from tasks.providers.base import BatchStatus
from tasks.runs.answer_files import fetch_videos
from tasks.runs.chunk_files import line_id, lines_name, posted_ids, requests_name, results_name
from tasks.runs.postings import keep_copy
from tasks.runs.session import Run
from tasks.runs.step_lines import chunk_line
from tasks.runs.submission import new_batch
from tasks.stages.merge.lines import read_blocks
from tasks.stages.merge.wholeness import Counts, ResultTally, judge
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.unreadable import UNREADABLE_LINE

_RESULTS_GONE = "results_gone"
_NOT_OURS = "not_ours"
_NEXT_STEP = "--set run.give_up_after=1s publishes what the other chunks have"
_UNREADABLE = (
    "the only result line that is left for this row cannot be read; it was answered, and is not asked again"
)


@step("collect", "collect chunk {chunk.number}", chunk_line)
def collect(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Copy the ended batch's output and error files into the run folder.

    Files that are not whole are not kept: UnreliableReply, until the run stops or they may be taken as they are (see
    `tasks.stages.merge.wholeness`). A chunk that had nothing to post, or a batch refused as a whole, has no files and goes
    on to the merge.
    """
    if chunk.state is ChunkState.PREPARED:
        return run.ledger.move(chunk, ChunkState.COLLECTED, "nothing to post")
    batch = run.ledger.batch(chunk)
    if chunk.unreliable_replies:
        batch = _look_again(run, chunk, batch)
    parser = dialect(run.job.provider.dialect).parser_for(run.job_of(chunk).prompt)
    tally = ResultTally(parser, _posted(run, chunk))
    values = _fetch(run, chunk, batch, tally)
    if not values:
        if batch.adopted and not batch.file_id and tally.unknown and not tally.ran | tally.never_ran:
            return _start_over(run, chunk, batch)
        values = _judge(run, chunk, batch, tally)
    fetch_videos(run, chunk, batch)
    if not values and batch.error_line is not None:
        values = {"error_custom_id": _custom_id_at(run, chunk, batch.error_line)}
    keep_copy(run.folder, replace(batch, **values))
    detail = f"{len(batch.result_files)} result files"
    return run.ledger.move(chunk, ChunkState.COLLECTED, detail, batch_values=values)


def _fetch(run: Run, chunk: ChunkRecord, batch: BatchRecord, tally: ResultTally) -> dict[str, Any]:
    """Copy the files and count their lines. One that the provider has thrown away is an error, and so is one that never
    comes whole; when the run gives up, the batch's error is returned instead, and the other chunks are published."""
    loss: dict[str, Any] = {}
    for index, file_id in enumerate(batch.result_files):
        name = results_name(chunk.number, chunk.attempt, index)
        if run.folder.exists(name):  # of a process that was killed before it had counted them
            with run.folder.read(name) as file:
                for block in read_blocks(file):
                    tally.write(block)
        else:
            with run.folder.write(name) as sink:
                try:
                    run.service_of(batch).download(
                        file_id, cast("BinaryIO", _Counted(sink, tally, run.service.guard))
                    )
                except TerminalError as error:
                    if not run.giving_up:
                        raise TerminalError(
                            f"chunk {chunk.number}: {error}; {_NEXT_STEP}", code=error.code
                        ) from error
                    loss = _error(_RESULTS_GONE, str(error))
                except UnreliableReply as error:
                    if not _takes_what_there_is(run, chunk):
                        raise
                    loss = _error(RESULTS_INCOMPLETE, str(error))
        tally.end_file()
    return loss


class _Counted:
    """A sink whose lines are counted on their way, as long as this process may act."""

    def __init__(self, sink: BinaryIO, tally: ResultTally, guard: Callable[[], None]) -> None:
        self._sink, self._tally, self._guard = sink, tally, guard

    def write(self, block: bytes) -> int:
        self._guard()
        self._tally.write(block)
        return self._sink.write(block)


def _judge(run: Run, chunk: ChunkRecord, batch: BatchRecord, tally: ResultTally) -> dict[str, Any]:
    """What is to be noted of files that are taken; the others are removed, and UnreliableReply raised."""
    verdict = judge(tally, _counts(run, batch))
    if verdict.doubt is None:
        return {}
    asked_enough = chunk.unreliable_replies + 1 >= UNRELIABLE_REPLIES
    if not (asked_enough and not verdict.stops) and not _takes_what_there_is(run, chunk):
        for index in range(len(batch.result_files)):
            run.folder.remove(results_name(chunk.number, chunk.attempt, index))
        raise UnreliableReply(f"results of {batch.batch_id}: {verdict.doubt}")
    if verdict.stops:
        return _error(RESULTS_INCOMPLETE, verdict.doubt)
    return _error(UNREADABLE_LINE, _UNREADABLE) if verdict.one_left else {}


def _takes_what_there_is(run: Run, chunk: ChunkRecord) -> bool:
    """Whether somebody who was asked has decided so: the run gives up, and the files were asked for often enough."""
    return run.giving_up and not run.stopping and chunk.unreliable_replies + 1 >= UNRELIABLE_REPLIES


def _counts(run: Run, batch: BatchRecord) -> Counts:
    if batch.status == BatchStatus.COMPLETED:
        return Counts(complete=True, completed=batch.completed, failed=batch.failed)
    # A batch that is dropped with all its answers has none to give; one that nobody saw end counts no further.
    cut_short = batch.status in (BatchStatus.EXPIRED, BatchStatus.CANCELLED)
    if cut_short and not run.service_of(batch).limits.all_or_nothing:
        return Counts(complete=False, completed=batch.completed)
    return Counts(complete=False)


def _look_again(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> BatchRecord:
    """The batch with the counts and files that the provider names now: the reply that named others may have been at fault."""
    try:
        seen = run.service_of(batch).retrieve(batch.batch_id or "").confirmed(batch.submission_key)
    except NotFound:
        return batch
    if not seen.status.ended:
        return batch
    values: dict[str, Any] = {
        "status": seen.status,
        "total": seen.total,
        "completed": seen.completed,
        "failed": seen.failed,
        "result_files": seen.result_files,
    }
    run.ledger.update_batch(chunk, **{**values, "result_files": list(seen.result_files)})
    return replace(batch, **values)


def _posted(run: Run, chunk: ChunkRecord) -> frozenset[str]:
    """The custom_ids that the chunk's attempt posted."""
    if chunk.attempt > 1:
        with run.folder.read(requests_name(chunk.number, chunk.attempt)) as file:
            return frozenset(line_id(line) for line in file)
    with run.folder.read(lines_name(chunk.number)) as file:
        return posted_ids(file)


def _start_over(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> ChunkRecord:
    """Where a batch carries no key, one that was under way may have been taken for ours after a lost reply. It is somebody's:
    it must not be deleted, our rows have not been asked by it, and ours is looked for again."""
    for index in range(len(batch.result_files)):
        run.folder.remove(results_name(chunk.number, chunk.attempt, index))
    reason = f"{batch.batch_id} answers other rows: it was somebody else's"
    values = {"batch_id": None, "result_files": [], **_error(_NOT_OURS, reason)}
    posting = chunk.posting + 1
    again = replace(new_batch(run, chunk, posting, file_id=""), intended_at=batch.intended_at)
    return run.ledger.move(
        chunk, ChunkState.UPLOADED, reason, batch=again, batch_values=values, posting=posting
    )


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error_code": code, "error_message": message, "error_line": None}


def _custom_id_at(run: Run, chunk: ChunkRecord, number: int) -> str | None:
    """The custom_id on that line of the posted file, since nobody sees the file; None where there is no such line."""
    with run.folder.read(requests_name(chunk.number, chunk.attempt)) as file:
        return next((line_id(line) for index, line in enumerate(file, start=1) if index == number), None)
