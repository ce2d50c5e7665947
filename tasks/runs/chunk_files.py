"""The files of a chunk in the run folder: their names, and writing those that `prepare` makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.deadline import Lane
from configs.prompt import Prompt
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import ChunkState
from tasks.stages import arrow_columns
from tasks.stages.plan import RowSlice
from tasks.stages.prompt import tokens
from tasks.stages.prompt.recall import RECALL_COLUMNS, Numbers
from tasks.storage.run_folder import RunFolder

# What is handed to the writing thread at once. That bounds memory, whatever the size of a row; of less, the rendering thread
# would wait for the other to be given the interpreter, which takes up to 5 ms each time.
_ROWS_AT_ONCE = 4_096
_BYTES_AT_ONCE = 4 << 20
_LINES = pa.schema([("custom_id", pa.string()), ("skip_code", pa.string()), ("skip_message", pa.string())])
_WHY_NOT_POSTED = ("skip_code", "reuse_run", "same_as")
_RECALLED_LINES = pa.schema([*_LINES, *(pa.field(name, kind) for name, kind in RECALL_COLUMNS)])


def rows_name(chunk: int) -> str:
    """Snapshot of the chunk's source rows, an Arrow IPC stream."""
    return f"chunks/{chunk:05d}/rows.arrows"


def lines_name(chunk: int) -> str:
    """Parquet file with a line per row of the chunk: its custom_id, why it was skipped, and where an earlier answer is."""
    return f"chunks/{chunk:05d}/lines.parquet"


def requests_name(chunk: int, attempt: int) -> str:
    """The request file that an attempt posts."""
    return f"chunks/{chunk:05d}/requests-{attempt}.jsonl"


def posted_name(chunk: int, attempt: int, lane: Lane | None) -> str:
    """The file that is uploaded for an attempt: its requests as they are, or with what they need for the flex lane."""
    return (
        f"chunks/{chunk:05d}/requests-{attempt}-flex.jsonl"
        if lane == "flex"
        else requests_name(chunk, attempt)
    )


def flexible(line: bytes) -> bytes:
    """A request line as one for OpenAI's flex processing."""
    # The first `"body":{` is the key: what comes before it are strings, in which quotes are escaped.
    return line.replace(b'"body":{', b'"body":{"service_tier":"flex",', 1)


def results_name(chunk: int, attempt: int, index: int) -> str:
    """A result file as the provider sent it: 0 is the output, 1 the error file where there are both."""
    return f"chunks/{chunk:05d}/results-{attempt}-{index}.jsonl"


def enriched_name(chunk: int) -> str:
    """The chunk's rows with the answers so far, a Parquet file."""
    return f"chunks/{chunk:05d}/enriched.parquet"


def merged_chunks(folder: RunFolder) -> list[int]:
    """The numbers of the chunks whose enriched rows are in a run's folder."""
    return sorted(int(name.split("/")[1]) for name in folder.matching("chunks/*/enriched.parquet"))


def posted_ids(lines: BinaryIO) -> frozenset[str]:
    """The custom_ids that the first attempt of a chunk posts, from its file of lines."""
    file = pq.ParquetFile(lines)
    names = file.schema_arrow.names
    table = file.read([name for name in ("custom_id", *_WHY_NOT_POSTED) if name in names])
    return frozenset(table.column("custom_id").filter(arrow_columns.mask(is_posted(table))).to_pylist())


def is_posted(lines: pa.Table) -> Numbers:
    """Of each row whether the first attempt posts it: those that are skipped, answered before or copies have no request."""
    posted = np.ones(lines.num_rows, bool)
    for reason in _WHY_NOT_POSTED:
        if reason in lines.column_names:
            posted &= arrow_columns.to_numpy(arrow_columns.combined(lines.column(reason)).is_null())
    return posted


def line_id(line: bytes) -> str:
    """The custom_id of a request line, without parsing JSON.

    Our renderer writes the id as the first field, and ids hold no characters that JSON escapes.
    """
    start = line.index(b'":"') + len(b'":"')
    return line[start : line.index(b'"', start)].decode()


def prompt_of(prompt: Prompt | None) -> dict[str, Any] | None:
    """What the requests of a chunk ask, as its record has it."""
    return None if prompt is None else prompt.model_dump(mode="json", by_alias=True)


def write_chunks(
    folder: RunFolder, run_id: str, schema: pa.Schema, row_slices: Iterable[RowSlice], first: int = 1
) -> Iterator[ChunkRecord]:
    """Write row slices into one folder per chunk, numbered from `first`; yields the record of each chunk once its files are
    durable."""
    writer: _ChunkWriter | None = None
    finishing_chunk: Future[ChunkRecord] | None = None
    number = first - 1
    # Arrow and the disk release the interpreter lock: writing requests and snapshots, and syncing a finished chunk, cost the
    # rendering thread next to nothing. Two threads: one for each of these.
    with ThreadPoolExecutor(2, thread_name_prefix="chunk") as executor:
        try:
            for row_slice in row_slices:
                if writer is None or row_slice.piece.new_chunk:
                    if finishing_chunk is not None:
                        yield finishing_chunk.result()
                    if writer is not None:
                        finishing_chunk, writer = executor.submit(writer.finish), None
                    number += 1
                    lines = _LINES if row_slice.recalled is None else _RECALLED_LINES
                    writer = _ChunkWriter(folder, executor, run_id, number, row_slice, schema, lines)
                writer.add(row_slice)
            if finishing_chunk is not None:
                yield finishing_chunk.result()
            if writer is not None:
                yield writer.finish()
        except BaseException as error:
            if writer is not None:
                writer.abandon(error)
            raise


class _ChunkWriter:
    """Writes the three files of one chunk: requests, snapshot of the rows, line ids."""

    def __init__(
        self,
        folder: RunFolder,
        executor: Executor,
        run_id: str,
        number: int,
        first: RowSlice,
        schema: pa.Schema,
        lines_schema: pa.Schema,
    ) -> None:
        self._executor = executor
        self._pending_write: Future[None] | None = None
        self._stack = ExitStack()
        self._requests = self._stack.enter_context(folder.write(requests_name(number, 1)))
        lines = self._stack.enter_context(folder.write(lines_name(number)))
        rows = self._stack.enter_context(folder.write(rows_name(number)))
        # Written once and read once, soon: fast to write matters more than small. A stream and not an Arrow file, since a
        # file allows only one dictionary per column.
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._rows = self._stack.enter_context(pa.ipc.new_stream(rows, schema, options=options))
        self._lines = self._stack.enter_context(pq.ParquetWriter(lines, lines_schema, compression="zstd"))
        self._pending: list[RowSlice] = []
        self._pending_rows = self._pending_bytes = 0
        self._run_id, self._number, self._first = run_id, number, first
        self._counts: Counter[str] = Counter()

    def add(self, row_slice: RowSlice) -> None:
        self._pending.append(row_slice)
        payload = row_slice.piece.payload
        self._pending_rows += row_slice.rows.num_rows
        self._pending_bytes += row_slice.rows.nbytes + len(payload)
        self._counts.update(
            rows=row_slice.rows.num_rows,
            requests=row_slice.piece.requests,
            bytes=len(payload),
            units=row_slice.piece.token_units,
        )
        if self._pending_rows >= _ROWS_AT_ONCE or self._pending_bytes >= _BYTES_AT_ONCE:
            self._flush()
        if len(payload) > _BYTES_AT_ONCE:
            self._wait()  # it is not held while the next is made: rows that name files have far larger requests

    def finish(self) -> ChunkRecord:
        try:
            self._flush()
            self._wait()
        except BaseException as error:  # where another chunk has begun, nobody else has this one any more
            self.abandon(error)
            raise
        self._stack.close()
        counts = self._counts
        return ChunkRecord(
            run_id=self._run_id,
            number=self._number,
            first_row=self._first.first_row,
            rows=counts["rows"],
            state=ChunkState.PREPARED,
            attempt=1,
            posting=1,
            requests=counts["requests"],
            bytes=counts["bytes"],
            tokens_estimate=max(0, tokens.to_tokens(counts["units"])),
            prompt=prompt_of(self._first.prompt),
        )

    def abandon(self, error: BaseException) -> None:
        """Discard the three files."""
        if self._pending_write is not None:
            self._pending_write.exception()
        self._stack.__exit__(type(error), error, error.__traceback__)

    def _flush(self) -> None:
        """Write what is pending in another thread; one write at a time, so that memory stays bounded."""
        self._wait()
        if self._pending:
            self._pending_write = self._executor.submit(self._write, self._pending)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def _wait(self) -> None:
        if self._pending_write is not None:
            self._pending_write.result()
            self._pending_write = None  # not before: interrupted here, `abandon` must wait for it as well

    def _write(self, row_slices: list[RowSlice]) -> None:
        for row_slice in row_slices:
            self._requests.write(row_slice.piece.payload)
        self._rows.write_table(pa.Table.from_batches([row_slice.rows for row_slice in row_slices]))
        self._lines.write_table(pa.Table.from_batches([_lines(row_slice) for row_slice in row_slices]))


def _lines(row_slice: RowSlice) -> pa.RecordBatch:
    codes: list[str | None] = [None] * len(row_slice.ids)
    messages = codes.copy()
    for row, skip in row_slice.piece.skipped:
        codes[row - row_slice.piece.start] = skip.code
        messages[row - row_slice.piece.start] = skip.message
    columns = [arrow_columns.strings(values) for values in (row_slice.ids, codes, messages)]
    copies = [(row - row_slice.piece.start, first) for row, first in row_slice.piece.copies]
    if row_slice.recalled is None:
        return pa.RecordBatch.from_arrays(columns, schema=_LINES)
    return pa.RecordBatch.from_arrays([*columns, *row_slice.recalled.columns(copies)], schema=_RECALLED_LINES)
