"""The answers that a published run holds, as entries of the index: read from its chunks, one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.reuse.asked_otherwise import asked_again, ids_asked_otherwise
from tasks.reuse.index import Entries, Source
from tasks.runs.chunk_files import enriched_name, lines_name, merged_chunks
from tasks.stages import arrow_columns
from tasks.stages.merge.lines import STATUSES
from tasks.stages.output_columns import prefix_of
from tasks.stages.prompt.recall import Numbers
from tasks.stages.row_status import RowStatus
from tasks.storage.run_folder import RunFolder

RECEIPT: Final = "receipt.json"
_SUCCEEDED, _REUSED = STATUSES.index(RowStatus.SUCCEEDED), STATUSES.index(RowStatus.REUSED)
_HAS_ANSWER: Final = np.array([status.has_answer for status in STATUSES])


@dataclass(frozen=True)
class PublishedRun:
    """A run whose answers are in its folder. `name` is the folder below the runs URL."""

    id: str
    name: str
    began: datetime
    folder: RunFolder

    def answers(self) -> Iterator[tuple[list[Source], Entries]]:
        """Chunk by chunk, the sources and the entries of all rows that have an answer and a fingerprint. That is of the first
        request: rows that were asked something else later are left out."""
        follow_ups = asked_again(self.folder)
        for number in merged_chunks(self.folder):
            with self.folder.read(lines_name(number)) as file:
                lines = pq.ParquetFile(file)
                if "fingerprint" not in lines.schema_arrow.names:
                    return
                table = lines.read(["fingerprint", "reuse_answered_at", "reuse_usd"])
            outcomes = self._outcomes(number, follow_ups.get(number, ()))
            yield self._of_chunk(number, table, *outcomes)

    def _outcomes(self, number: int, follow_ups: Sequence[str]) -> tuple[Numbers, Numbers, Numbers]:
        """Of each row its status code, its cost, and whether its custom_id was asked something else by a follow-up."""
        changed = ids_asked_otherwise(self.folder, number, follow_ups)
        names = ["status", "cost_usd", *(["custom_id"] if changed else [])]
        with self.folder.read(enriched_name(number)) as file:
            enriched = pq.ParquetFile(file)
            prefix = prefix_of(enriched.schema_arrow.names)
            table = enriched.read([prefix + name for name in names])
        words = arrow_columns.combined(table.column(f"{prefix}status"))
        codes = pc.index_in(words, value_set=arrow_columns.strings([str(each) for each in STATUSES]))
        is_changed = np.zeros(len(words), bool)
        if changed:
            ids = arrow_columns.combined(table.column(f"{prefix}custom_id"))
            is_changed = arrow_columns.to_numpy(
                pc.is_in(ids, value_set=arrow_columns.strings(sorted(changed)))
            )
        return arrow_columns.to_numpy(codes), _floats(table.column(f"{prefix}cost_usd")), is_changed

    def _of_chunk(
        self, number: int, lines: pa.Table, status: Numbers, usd: Numbers, asked_otherwise: Numbers
    ) -> tuple[list[Source], Entries]:
        times = arrow_columns.to_numpy(
            arrow_columns.combined(lines.column("reuse_answered_at")).view(pa.int64()), -1
        )
        status = np.where(status == _REUSED, _SUCCEEDED, status)
        # A row that took its answer over has the custom_id of another run.
        is_fit = _valid(lines.column("fingerprint")) & ~(asked_otherwise & (times < 0))
        rows = np.flatnonzero(_HAS_ANSWER[status] & is_fit)
        kinds, source = np.unique(((times + 1) * len(STATUSES) + status)[rows], return_inverse=True)
        halves = _halves(lines.column("fingerprint"))[rows]
        usd = np.where(times >= 0, _floats(lines.column("reuse_usd")), usd)
        sources = [self._source(*divmod(kind, len(STATUSES))) for kind in kinds.tolist()]
        return sources, Entries(
            halves[:, 0],
            halves[:, 1],
            source,
            np.full(len(rows), number, np.uint32),
            rows,
            usd[rows],
        )

    def _source(self, answered_at: int, status: int) -> Source:
        """Of the answers that this run bought (0), or took over when they had been bought so many microseconds after 1970."""
        bought = datetime.fromtimestamp((answered_at - 1) / 1e6, UTC) if answered_at else self.began
        return Source(self.id, self.name, self.began, bought, STATUSES[status])


def published_runs(job_folder: RunFolder, job: str) -> Iterator[PublishedRun]:
    """The runs of a job whose folders are there with their receipts; a receipt that cannot be read is passed over."""
    for name in job_folder.matching(f"*/{RECEIPT}"):
        key = name.partition("/")[0]
        with job_folder.read(name) as file:
            content = file.read()
        try:
            receipt: Any = json.loads(content)
            began = datetime.fromisoformat(receipt["started_at"])
            run = str(receipt["run"])
        except (ValueError, TypeError, KeyError):
            continue
        yield PublishedRun(run, f"{job}/{key}", began, job_folder.below(key))


def _floats(column: pa.ChunkedArray) -> Numbers:
    values = arrow_columns.to_numpy(arrow_columns.combined(column)).astype(np.float64)
    values[~_valid(column)] = np.nan
    return values


def _valid(column: pa.ChunkedArray) -> Numbers:
    return arrow_columns.to_numpy(arrow_columns.combined(column).is_valid())


def _halves(column: pa.ChunkedArray) -> Numbers:
    """Binary values of 16 bytes, nulls included, as rows of two 64-bit halves."""
    array = arrow_columns.combined(column)
    data = array.buffers()[1]
    if data is None:
        return np.zeros((len(array), 2), np.uint64)
    return np.frombuffer(data, np.uint64)[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)
