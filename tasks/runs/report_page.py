"""Make the HTML run report of a finished run, from the ledger and the run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import pyarrow.parquet as pq

from configs.errors import ConfigError
from configs.job import Job
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.runs.chunk_files import enriched_name
from tasks.runs.session import Run
from tasks.stages.prompt.render import Renderer
from tasks.stages.read.request_files import REQUEST_COLUMNS
from tasks.stages.report.page import BatchView, Sample, find_samples, render_page
from tasks.stages.report.receipt import Receipt
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.formats import dialect
from tasks.storage.run_folder import RunFolder

_SUCCEEDED_SAMPLES = 3


def make_page(
    run: Run, receipt: Receipt, chunks: tuple[ChunkRecord, ...], batches: tuple[BatchRecord, ...]
) -> bytes | None:
    """The report as HTML. None if it cannot be made; the reason is noted in the run's history, and the rows are published."""
    try:
        columns = source_columns(run.folder, run.job, chunks)
        return render_page(
            receipt,
            [batch_view(batch) for batch in batches],
            sample_rows(run.folder, run.job, chunks, columns),
            zone=run.job.zone,
            columns=len(columns),
            stopped=run.stopping,
        )
    except Exception as error:  # noqa: BLE001 - no fault of the report may stop the publication of rows that were paid for
        run.ledger.note("no report", f"{type(error).__name__}: {error}")
        return None


def batch_view(batch: BatchRecord) -> BatchView:
    """A batch of the ledger as the report shows it."""
    return BatchView(
        chunk=batch.chunk,
        attempt=batch.attempt,
        posting=batch.posting,
        id=batch.batch_id,
        status=batch.status or "not posted",
        requests=batch.requests,
        posted=batch.submitted_at,
        ended=batch.ended_at,
        phases=tuple((status, datetime.fromisoformat(seen_at)) for status, seen_at in batch.history),
        priced=batch.input_tokens is not None,
        cost_usd=batch.cost_usd,
        error=batch.error_text or batch.error_code,
        lane=batch.lane,
    )


def source_columns(folder: RunFolder, job: Job, chunks: Sequence[ChunkRecord]) -> list[str]:
    """The source's columns in the output, those before the added ones, by the first of these merged chunks."""
    if not chunks:
        return []
    with folder.read(enriched_name(chunks[0].number)) as file:
        names: list[str] = pq.ParquetFile(file).schema_arrow.names
    return names[: names.index(f"{job.output.prefix}answer")]


def sample_rows(
    folder: RunFolder, job: Job, chunks: Iterable[ChunkRecord], columns: list[str]
) -> list[Sample]:
    """Sample rows of every status, from the first chunk that has it: few chunks are read, however many there are."""
    statuses_seen: set[str] = set()
    samples = []
    for chunk in chunks:
        new_statuses = sorted({*(chunk.stats or {}).get("by_status", ())} - statuses_seen)
        if not new_statuses:
            continue
        statuses_seen.update(new_statuses)
        with folder.read(enriched_name(chunk.number)) as file:
            samples += find_samples(
                file,
                {
                    status: _SUCCEEDED_SAMPLES if status == RowStatus.SUCCEEDED else 1
                    for status in new_statuses
                },
                prefix=job.output.prefix,
                first=[*job.source.key_columns, *_prompt_columns(job, columns)],
                first_row=chunk.first_row,
            )
    return samples


def _prompt_columns(job: Job, columns: list[str]) -> tuple[str, ...]:
    """The columns that the prompt uses; none if some of them are not in the output (`source.columns`). Ready requests are
    told apart by all that there is of them."""
    if job.source.format == "requests":
        return REQUEST_COLUMNS
    try:
        tree = dialect(job.provider.dialect).request_tree(job.prompt, job.provider)
        return Renderer(tree, columns).columns
    except ConfigError:
        return ()
