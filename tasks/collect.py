"""Fetch what a batch answered: every result file, byte for byte, whole before it has its name."""

from __future__ import annotations

from tasks.assets import fetch_videos
from tasks.chunk_folder import line_id, requests_name, results_name
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.states import ChunkState
from tasks.runs import Run
from tasks.step import step


@step("collect", "collect chunk {chunk.number}")
def collect(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """Copy the ended batch's output and error files into the run folder.

    A chunk that had nothing to post, or a batch refused as a whole, has no files and goes on to the merge.
    """
    if chunk.state is ChunkState.PREPARED:
        return run.ledger.move(run.lease, chunk, ChunkState.COLLECTED, "nothing to post")
    batch = run.ledger.batch(chunk)
    for index, file_id in enumerate(batch.result_files):
        name = results_name(chunk.number, chunk.attempt, index)
        if not run.folder.exists(name):
            with run.folder.write(name) as sink:
                run.service.download(file_id, sink)
    fetch_videos(run, chunk, batch)
    fetched = f"{len(batch.result_files)} result files"
    values = {"error_message": _name_the_row(run, chunk, batch)} if batch.error_code else {}
    return run.ledger.move(run.lease, chunk, ChunkState.COLLECTED, fetched, batch_values=values)


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
