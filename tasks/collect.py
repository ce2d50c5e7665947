"""Fetch what a batch answered: every result file, byte for byte, whole before it has its name."""

from __future__ import annotations

from itertools import islice
from typing import Any

from configs.errors import TerminalError
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.orchestration.step import step
from tasks.runs.answer_files import fetch_videos
from tasks.runs.chunk_files import line_id, requests_name, results_name
from tasks.runs.session import Run
from tasks.stages.wire.formats import dialect

_GONE = "results_gone"
_WAY_OUT = "--set run.give_up_after=1s publishes what the other chunks have"
_LOOKED_AT = 1_000  # results that tell whose they are


@step("collect", "collect chunk {chunk.number}")
def collect(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Copy the ended batch's output and error files into the run folder.

    A chunk that had nothing to post, or a batch refused as a whole, has no files and goes on to the merge.
    """
    if chunk.state is ChunkState.PREPARED:
        return run.ledger.move(run.lease, chunk, ChunkState.COLLECTED, "nothing to post")
    batch = run.ledger.batch(chunk)
    gone = _fetch(run, chunk, batch)
    if _is_foreign(run, chunk, batch):
        return _start_over(run, chunk, batch)
    fetch_videos(run, chunk, batch)
    fetched = f"{len(batch.result_files)} result files"
    values: dict[str, Any] = {}
    if gone:
        values = {"error_code": _GONE, "error_message": gone}
    elif batch.error_code:
        values = {"error_message": _name_the_row(run, chunk, batch)}
    return run.ledger.move(run.lease, chunk, ChunkState.COLLECTED, fetched, batch_values=values)


def _fetch(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> str | None:
    """Copy the files. One that the provider has thrown away is an error, or what is said of it when the run gives up:
    the other chunks are published then."""
    gone = None
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
                        f"chunk {chunk.number}: {error}; {_WAY_OUT}", code=error.code
                    ) from error
                gone = str(error)
    return gone


def _is_foreign(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> bool:
    """Whether none of the results is for a row of ours.

    Where requests go with the batch and it carries no key, one that was under way may have been taken for ours after a
    lost reply. It is somebody's: it must not be deleted, and our rows have not been asked.
    """
    if batch.file_id or not batch.result_files:
        return False
    parser = dialect(run.job.provider.dialect).parser(run.job.prompt.endpoint)
    with run.folder.read(results_name(chunk.number, chunk.attempt, 0)) as results:
        answered = {parser.parse_line(line).custom_id for line in islice(results, _LOOKED_AT) if line.strip()}
    with run.folder.read(requests_name(chunk.number, chunk.attempt)) as requests:
        return bool(answered) and not any(line_id(line) in answered for line in requests)


def _start_over(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> ChunkRecord:
    for index in range(len(batch.result_files)):
        run.folder.remove(results_name(chunk.number, chunk.attempt, index))
    why = f"{batch.batch_id} answers other rows: it was somebody else's"
    values: dict[str, Any] = {
        "batch_id": None,
        "result_files": [],
        "error_code": "not_ours",
        "error_message": why,
    }
    return run.ledger.move(
        run.lease, chunk, ChunkState.PREPARED, why, batch_values=values, posting=chunk.posting + 1
    )


def _name_the_row(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> str | None:
    """The batch's error with the custom_id of the line it names, since nobody sees the posted file."""
    message = batch.error_message
    if not message or not message.startswith("line "):
        return message
    number, _, said = message.removeprefix("line ").partition(": ")
    if not number.isdigit():
        return message
    with run.folder.read(requests_name(chunk.number, chunk.attempt)) as file:
        for index, line in enumerate(file, start=1):
            if index == int(number):
                return f"line {number} (custom_id {line_id(line)}): {said}"
    return message
