"""Make the HTML run report of a finished run, from the ledger and the run folder."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pyarrow.parquet as pq

from configs.errors import ConfigError
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.runs.chunk_files import enriched_name
from tasks.runs.session import Run
from tasks.stages.prompt.render import Renderer
from tasks.stages.report.page import BatchView, Sample, find_samples, render_page
from tasks.stages.report.receipt import Receipt
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.formats import dialect

_SUCCEEDED_SAMPLES = 3


def make_page(
    run: Run, receipt: Receipt, chunks: tuple[ChunkRecord, ...], batches: tuple[BatchRecord, ...]
) -> bytes | None:
    """The report as HTML. None if it cannot be made; the reason is noted in the run's history, and the rows are published."""
    try:
        columns = _columns(run, chunks)
        return render_page(
            receipt,
            [_batch_view(batch) for batch in batches],
            _samples(run, chunks, columns),
            zone=run.job.zone,
            columns=len(columns),
            stopped=run.stopping,
        )
    except Exception as error:  # noqa: BLE001 - no fault of the report may stop the publication of rows that were paid for
        run.ledger.note("no report", f"{type(error).__name__}: {error}")
        return None


def _batch_view(batch: BatchRecord) -> BatchView:
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
    )


def _columns(run: Run, chunks: tuple[ChunkRecord, ...]) -> list[str]:
    """The source's columns in the output: those before the added ones."""
    if not chunks:
        return []
    with run.folder.read(enriched_name(chunks[0].number)) as file:
        names: list[str] = pq.ParquetFile(file).schema_arrow.names
    return names[: names.index(f"{run.job.output.prefix}answer")]


def _samples(run: Run, chunks: Iterable[ChunkRecord], columns: list[str]) -> list[Sample]:
    """Sample rows of every status, from the first chunk that has it: few chunks are read, however many there are."""
    statuses_seen: set[str] = set()
    samples = []
    for chunk in chunks:
        new_statuses = sorted({*(chunk.stats or {}).get("by_status", ())} - statuses_seen)
        if not new_statuses:
            continue
        statuses_seen.update(new_statuses)
        with run.folder.read(enriched_name(chunk.number)) as file:
            samples += find_samples(
                file,
                {
                    status: _SUCCEEDED_SAMPLES if status == RowStatus.SUCCEEDED else 1
                    for status in new_statuses
                },
                prefix=run.job.output.prefix,
                first=[*run.job.source.key_columns, *_prompt_columns(run, columns)],
                first_row=chunk.first_row,
            )
    return samples


def _prompt_columns(run: Run, columns: list[str]) -> tuple[str, ...]:
    """The columns that the prompt uses; none if some of them are not in the output (`source.columns`)."""
    try:
        tree = dialect(run.job.provider.dialect).request_tree(run.job.prompt, run.job.provider)
        return Renderer(tree, columns).columns
    except ConfigError:
        return ()
