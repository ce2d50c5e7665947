"""Download the result files of a batch into the run folder, byte for byte, each whole before it has its name."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

from configs.errors import TerminalError
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.orchestration.step import step
from tasks.runs.answer_files import fetch_videos
from tasks.runs.chunk_files import line_id, requests_name, results_name
from tasks.runs.postings import keep_copy
from tasks.runs.session import Run
from tasks.stages.wire.formats import dialect

_RESULTS_GONE = "results_gone"
_NOT_OURS = "not_ours"
_NEXT_STEP = "--set run.give_up_after=1s publishes what the other chunks have"
_RESULTS_COMPARED = 1_000  # enough to tell whose they are


@step("collect", "collect chunk {chunk.number}")
def collect(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Copy the ended batch's output and error files into the run folder.

    A chunk that had nothing to post, or a batch refused as a whole, has no files and goes on to the merge.
    """
    if chunk.state is ChunkState.PREPARED:
        return run.ledger.move(chunk, ChunkState.COLLECTED, "nothing to post")
    batch = run.ledger.batch(chunk)
    loss = _fetch(run, chunk, batch)
    if _is_foreign(run, chunk, batch):
        return _start_over(run, chunk, batch)
    fetch_videos(run, chunk, batch)
    detail = f"{len(batch.result_files)} result files"
    values: dict[str, Any] = {}
    if loss:
        values = _error(_RESULTS_GONE, loss)
    elif batch.error_line is not None:
        values = {"error_custom_id": _custom_id_at(run, chunk, batch.error_line)}
    keep_copy(run.folder, replace(batch, **values))
    return run.ledger.move(chunk, ChunkState.COLLECTED, detail, batch_values=values)


def _fetch(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> str | None:
    """Copy the files. One that the provider has thrown away is an error; when the run gives up, its message is returned
    instead, and the other chunks are published."""
    loss = None
    for index, file_id in enumerate(batch.result_files):
        name = results_name(chunk.number, chunk.attempt, index)
        if run.folder.exists(name):
            continue
        with run.folder.write(name) as sink:
            try:
                run.service.download(file_id, sink)
            except TerminalError as error:
                if not run.giving_up:
                    raise TerminalError(
                        f"chunk {chunk.number}: {error}; {_NEXT_STEP}", code=error.code
                    ) from error
                loss = str(error)
    return loss


def _is_foreign(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> bool:
    """Whether none of the results is for a row of ours.

    Where requests go with the batch and it carries no key, one that was under way may have been taken for ours after a
    lost reply. It is somebody's: it must not be deleted, and our rows have not been asked.
    """
    if batch.file_id or not batch.result_files:
        return False
    parser = dialect(run.job.provider.dialect).parser(run.job.prompt.endpoint)
    with run.folder.read(results_name(chunk.number, chunk.attempt, 0)) as results:
        compared = islice(results, _RESULTS_COMPARED)
        answered = {parser.parse_line(line).custom_id for line in compared if line.strip()}
    with run.folder.read(requests_name(chunk.number, chunk.attempt)) as requests:
        return bool(answered) and not any(line_id(line) in answered for line in requests)


def _start_over(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> ChunkRecord:
    for index in range(len(batch.result_files)):
        run.folder.remove(results_name(chunk.number, chunk.attempt, index))
    reason = f"{batch.batch_id} answers other rows: it was somebody else's"
    values = {"batch_id": None, "result_files": [], **_error(_NOT_OURS, reason)}
    return run.ledger.move(chunk, ChunkState.PREPARED, reason, batch_values=values, posting=chunk.posting + 1)


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error_code": code, "error_message": message, "error_line": None}


def _custom_id_at(run: Run, chunk: ChunkRecord, number: int) -> str | None:
    """The custom_id on that line of the posted file, since nobody sees the file; None where there is no such line."""
    with run.folder.read(requests_name(chunk.number, chunk.attempt)) as file:
        return next((line_id(line) for index, line in enumerate(file, start=1) if index == number), None)
