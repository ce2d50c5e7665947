"""The requests that a chunk's next attempt posts: those of the rows to be asked again, as they were asked first.

They are rendered anew, from the rows as they were, where the run was told to ask with other params. An answer that is invalid
can go with its request, and what is wrong with it, where the job says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.job import Job
from tasks.ledger.records import ChunkRecord
from tasks.runs.chunk_files import enriched_name, is_posted, line_id, lines_name, requests_name, rows_name
from tasks.runs.session import Run, shard_limits
from tasks.stages.arrow_columns import mask, strings, to_numpy
from tasks.stages.prompt.file_cells import file_reader
from tasks.stages.prompt.render import MICRO_BATCH_ROWS, Renderer, Skip, one_line
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.formats import dialect

_PAGE_ROWS = 1_024  # of answers that are held at once


def follow_up_lines(run: Run, chunk: ChunkRecord, wanted: frozenset[str]) -> Iterator[bytes]:
    """The request lines of the `wanted` custom_ids, in the order of their rows. The chunk is merged: its answers are known."""
    lines = _first_lines(run, chunk, wanted)
    if run.job.prompt.params != first_params(run):
        lines = _rendered_anew(run, chunk, wanted, lines)
    return _with_errors(run, chunk, wanted, lines) if run.job.retry.tell_errors else lines


def first_params(run: Run) -> dict[str, Any]:
    """The `prompt.params` that the run was begun with."""
    params: dict[str, Any] = run.record.identity["prompt"]["params"]
    return params


def renderer_of(job: Job, columns: Sequence[str]) -> Renderer:
    """What renders the job's requests for rows with those columns; ConfigError where it cannot."""
    return Renderer(dialect(job.provider.dialect).request_tree(job.prompt, job.provider), columns)


def _first_lines(run: Run, chunk: ChunkRecord, wanted: frozenset[str]) -> Iterator[bytes]:
    # Those of the first attempt: `retry.on` may name more reasons than when the latest one was posted.
    with run.folder.read(requests_name(chunk.number, 1)) as before:
        yield from (line for line in before if line_id(line) in wanted)


def _rendered_anew(
    run: Run, chunk: ChunkRecord, wanted: frozenset[str], lines: Iterator[bytes]
) -> Iterator[bytes]:
    """The lines with the params of now, and what files hold now that rows name. A row that cannot be rendered with them is asked
    as before."""
    with run.folder.read(rows_name(chunk.number)) as rows, run.folder.read(lines_name(chunk.number)) as ids:
        asked = _asked_ids(pq.ParquetFile(ids).read(), wanted)
        with pa.ipc.open_stream(rows) as stream:
            renderer = renderer_of(run.job, stream.schema.names)
            files = file_reader(run.job.source, renderer.file_columns)
            start = 0
            for batch in _micro_batches(stream):
                here = asked[start : start + batch.num_rows]
                start += batch.num_rows
                some = batch.filter(here.is_valid())
                some_ids = here.drop_null().to_pylist()
                for held in files.held_rows(some):
                    here_ids = some_ids[held.start : held.stop]
                    for line in renderer.lines(held.of(some), here_ids, held.files):
                        first = next(lines)
                        yield first if isinstance(line, Skip) else line


def _asked_ids(lines: pa.Table, wanted: frozenset[str]) -> pa.Array:
    """The custom_id of every row that is wanted, null elsewhere; a row that was never posted may share an id."""
    ids = lines.column("custom_id").combine_chunks()
    is_asked = to_numpy(pc.is_in(ids, value_set=strings(sorted(wanted)))) & is_posted(lines)
    return pc.if_else(mask(is_asked), ids, pa.nulls(1, ids.type)[0])


def _micro_batches(stream: Any) -> Iterator[pa.RecordBatch]:
    for batch in stream:
        for start in range(0, batch.num_rows, MICRO_BATCH_ROWS):
            yield batch.slice(start, MICRO_BATCH_ROWS)


def _with_errors(
    run: Run, chunk: ChunkRecord, wanted: frozenset[str], lines: Iterator[bytes]
) -> Iterator[bytes]:
    """The lines, those of invalid answers with the answer and what is wrong with it, as far as the file has room for them."""
    tell = dialect(run.job.provider.dialect).tell
    limits = shard_limits(run.job, run.service.limits)
    invalid = _invalid_answers(run, chunk, wanted)
    room = limits.max_bytes - sum(map(len, _first_lines(run, chunk, wanted)))
    following = next(invalid, None)
    for line in lines:
        if following is None or following[0] != line_id(line):
            yield line
            continue
        told = one_line(_dumped(tell(json.loads(line), following[1], following[2]))) + b"\n"
        following = next(invalid, None)
        more = len(told) - len(line)
        fits = more <= room and len(told) <= (limits.max_line_bytes or len(told))
        room -= more if fits else 0
        yield told if fits else line


def _invalid_answers(run: Run, chunk: ChunkRecord, wanted: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """(custom_id, answer, what is wrong with it) of the wanted rows whose answer is invalid, in the order of the rows."""
    prefix = run.job.output.prefix
    names = [prefix + name for name in ("custom_id", "status", "answer", "error_message", "reused_from")]
    with run.folder.read(enriched_name(chunk.number)) as file:
        for batch in pq.ParquetFile(file).iter_batches(_PAGE_ROWS, columns=names):
            table = batch.to_pydict()
            for custom_id, status, answer, message, reused in zip(
                *(table[name] for name in names), strict=True
            ):
                # One that was taken over has the custom_id of another run.
                if status == RowStatus.INVALID and custom_id in wanted and answer and reused is None:
                    yield custom_id, answer, message or ""


def _dumped(request: dict[str, Any]) -> bytes:
    """As compact as the renderer's; a text that holds half of a surrogate pair is escaped."""
    try:
        return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(request, separators=(",", ":")).encode()
