"""The final result lines of a run's requests in two files of the run folder, as a provider would give them for one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow.parquet as pq

from tasks.ledger.records import ChunkRecord
from tasks.runs.chunk_files import enriched_name, results_name
from tasks.runs.session import Run
from tasks.stages.merge.lines import read_blocks
from tasks.stages.ready_requests.final_lines import AnsweredRow, FileKind, chosen_lines, line_of_none
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.formats import dialect
from tasks.storage.object_output import OpenFile

_PAGE_ROWS = 4_096
_STATUSES = {str(each): each for each in RowStatus}
_OF_ROWS = ("custom_id", "status", "batch_id", "error_code", "error_message")


def result_files(run: Run, chunks: Sequence[ChunkRecord]) -> list[tuple[str, OpenFile]]:
    """(kind, opener) of the output and the error file, written anew; none where the job does not ask for them."""
    if not run.job.output.result_lines:
        return []
    with run.folder.write(_name("output")) as output, run.folder.write(_name("error")) as error:
        for chunk in chunks:
            for kind, line in _lines(run, chunk):
                (output if kind == "output" else error).write(line)
    return [(kind, partial(run.folder.read, _name(kind))) for kind in ("output", "error")]


def _name(kind: str) -> str:
    return f"result-lines/{kind}.jsonl"


def _lines(run: Run, chunk: ChunkRecord) -> Iterator[tuple[FileKind, bytes]]:
    """The line of each row of a merged chunk, attempt by attempt."""
    waiting = {row.posted_id: row for row in _rows(run, chunk)}
    job = run.job_of(chunk)
    parser = dialect(job.provider.dialect).parser_for(job.prompt)
    for batch in run.ledger.batches_of(chunk):
        for index in range(len(batch.result_files)):
            with run.folder.read(results_name(chunk.number, batch.attempt, index)) as file:
                for block in read_blocks(file):
                    yield from chosen_lines(block, batch.batch_id, parser, waiting)
    for row in waiting.values():
        yield "error", line_of_none(row, job.provider.dialect)


def _rows(run: Run, chunk: ChunkRecord) -> Iterator[AnsweredRow]:
    names = ["custom_id", *(run.job.output.prefix + name for name in _OF_ROWS)]
    with run.folder.read(enriched_name(chunk.number)) as file:
        for batch in pq.ParquetFile(file).iter_batches(_PAGE_ROWS, columns=names):
            columns = [batch.column(name).to_pylist() for name in names]
            for given, posted, status, batch_id, code, message in zip(*columns, strict=True):
                yield AnsweredRow(given, posted, _STATUSES[status], batch_id, code, message)
