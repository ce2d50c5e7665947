"""Read, render and shard: from the dataset to one folder per chunk. Nothing is posted before all of it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import ConfigError
from configs.job import Job
from configs.progress import Progress, Reporter
from tasks import providers
from tasks.ledger.records import ChunkRecord
from tasks.ledger.states import ChunkState, RunState
from tasks.output import Output
from tasks.run_folder import RunFolder
from tasks.runs import Order, Run, shard_limits
from tasks.stages import tokens
from tasks.stages.blueprint import Blueprint, Stretch
from tasks.stages.price import find_price
from tasks.step import step

_SNAPSHOT_ROWS = 16_384
LINES = pa.schema([("custom_id", pa.string()), ("skip_code", pa.string()), ("skip_message", pa.string())])


@step("prepare", "prepare")
def prepare(run: Run, reporter: Reporter) -> None:
    """Lay out all chunks in the run folder and record them, once; a run that has them is left as it is.

    A prepare that was interrupted starts over: nothing of it was posted.
    """
    if run.record.state is RunState.CANCELLED:
        resumed = RunState.RUNNING if run.ledger.chunks(run.id) else RunState.PREPARING
        run.ledger.update_run(run.lease, state=resumed)
    elif run.record.state is not RunState.PREPARING:
        return
    if run.ledger.chunks(run.id):
        return
    try:
        run.folder.remove("chunks")
        blueprint = Blueprint(
            run.job, shard_limits(run.job, run.service.limits), run.service.limits.custom_id
        )
        chunks = tuple(_write_chunks(run.folder, run.id, blueprint, reporter))
    except ConfigError:
        run.folder.remove("")
        run.ledger.forget(run.lease)
        raise
    for line in blueprint.dataset.bad_lines:
        run.ledger.note(run.lease, "bad line", f"{line.path} line {line.line}: {line.reason}")
    run.ledger.replace_chunks(
        run.lease,
        chunks,
        state=RunState.RUNNING,
        source_fingerprint=blueprint.dataset.fingerprint,
        bad_lines=blueprint.dataset.bad_line_count,
    )
    reporter.note(f"prepared {sum(chunk.rows for chunk in chunks):,} rows in {len(chunks)} chunks")


def plan(order: Order, reporter: Reporter) -> dict[str, Any]:
    """What `prepare` and `submit` would do, counted; writes and posts nothing."""
    job = order.job
    limits = providers.limits(job.provider.name)
    blueprint = Blueprint(job, shard_limits(job, limits), limits.custom_id)
    Output(job.output.path, job.name).check_owner()
    first = blueprint.first_prompt()
    totals: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    for stretch in _watched(blueprint, reporter):
        piece = stretch.piece
        skips.update(skip.code for _, skip in piece.skipped)
        totals.update(
            rows=stretch.rows.num_rows,
            chunks=int(piece.new_chunk),
            requests=piece.requests,
            bytes=len(piece.payload),
            units=piece.token_units,
        )
    prompt_tokens = tokens.to_tokens(totals["units"])
    price = find_price(job.prompt.model, price_provider(job), at=order.now)
    return {
        "job": job.name,
        "key": order.key,
        "job_file": order.job_file,
        "source": job.source.path,
        "output": job.output.path,
        "provider": job.provider.name,
        "endpoint": job.prompt.endpoint,
        "model": job.prompt.model,
        **{name: totals[name] for name in ("rows", "chunks", "requests", "bytes")},
        "skipped": totals["rows"] - totals["requests"],
        "skips": dict(skips),
        "bad_lines": blueprint.dataset.bad_line_count,
        "prompt_tokens": prompt_tokens,
        "tokens_method": tokens.METHOD,
        "prompt_cost_usd": None if price is None else price.cost_usd(prompt_tokens),
        "first_prompt": "\n".join(f"[{name}] {text}" for name, text in first),
    }


def render_files(order: Order, out: Path, reporter: Reporter) -> list[Path]:
    """Write the request files alone into an empty or new folder; their paths."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is not an empty folder; choose a new one")
    limits = providers.limits(order.job.provider.name)
    blueprint = Blueprint(order.job, shard_limits(order.job, limits), limits.custom_id)
    blueprint.first_prompt()
    folder = RunFolder(str(out.absolute()))
    written: list[Path] = []
    with ExitStack() as stack:
        file: BinaryIO | None = None
        for stretch in _watched(blueprint, reporter):
            if file is None or stretch.piece.new_chunk:
                stack.close()
                name = f"requests-{len(written) + 1:05d}.jsonl"
                file = stack.enter_context(folder.write(name))
                written.append(out / name)
            file.write(stretch.piece.payload)
    return written


def lines_name(chunk: int) -> str:
    """Per row of a chunk: its custom_id, or why it was never posted."""
    return f"chunks/{chunk:05d}/lines.parquet"


def rows_name(chunk: int) -> str:
    """The chunk's source rows as they were."""
    return f"chunks/{chunk:05d}/rows.parquet"


def price_provider(job: Job) -> str | None:
    """Whose price list holds; None for a service of its own prices behind another base URL."""
    return None if getattr(job.provider, "base_url", None) else job.provider.name


def _watched(blueprint: Blueprint, reporter: Reporter) -> Iterator[Stretch]:
    done, total = 0, blueprint.dataset.rows_hint
    for stretch in blueprint.stretches():
        yield stretch
        done += stretch.rows.num_rows
        reporter.progress(Progress("preparing", done, total, "rows"))


def _write_chunks(
    folder: RunFolder, run_id: str, blueprint: Blueprint, reporter: Reporter
) -> Iterator[ChunkRecord]:
    writer: _ChunkWriter | None = None
    number = 0
    try:
        for stretch in _watched(blueprint, reporter):
            if writer is None or stretch.piece.new_chunk:
                if writer is not None:
                    yield writer.finish()
                number += 1
                writer = _ChunkWriter(folder, run_id, number, stretch.first_row, blueprint.dataset.schema)
            writer.add(stretch)
        if writer is not None:
            yield writer.finish()
    except BaseException as error:
        if writer is not None:
            writer.abandon(error)
        raise


class _ChunkWriter:
    """One chunk's three files, written side by side."""

    def __init__(
        self, folder: RunFolder, run_id: str, number: int, first_row: int, schema: pa.Schema
    ) -> None:
        self._stack = ExitStack()
        self._requests = self._stack.enter_context(folder.write(f"chunks/{number:05d}/requests-1.jsonl"))
        lines = self._stack.enter_context(folder.write(lines_name(number)))
        rows = self._stack.enter_context(folder.write(rows_name(number)))
        # Written once and read once, soon: cheap to write beats small.
        self._rows = self._stack.enter_context(
            pq.ParquetWriter(rows, schema, compression="lz4", use_dictionary=False, write_statistics=False)
        )
        self._lines = self._stack.enter_context(pq.ParquetWriter(lines, LINES, compression="zstd"))
        self._pending: list[Stretch] = []
        self._pending_rows = 0
        self._run_id, self._number, self._first_row = run_id, number, first_row
        self._count: Counter[str] = Counter()

    def add(self, stretch: Stretch) -> None:
        self._requests.write(stretch.piece.payload)
        self._pending.append(stretch)
        self._pending_rows += stretch.rows.num_rows
        self._count.update(
            rows=stretch.rows.num_rows,
            requests=stretch.piece.requests,
            bytes=len(stretch.piece.payload),
            units=stretch.piece.token_units,
        )
        if self._pending_rows >= _SNAPSHOT_ROWS:
            self._flush()

    def finish(self) -> ChunkRecord:
        self._flush()
        self._stack.close()
        count = self._count
        return ChunkRecord(
            run_id=self._run_id,
            number=self._number,
            first_row=self._first_row,
            rows=count["rows"],
            state=ChunkState.PREPARED,
            attempt=1,
            posting=1,
            requests=count["requests"],
            bytes=count["bytes"],
            tokens_estimate=max(0, tokens.to_tokens(count["units"])),
        )

    def abandon(self, error: BaseException) -> None:
        """Leave none of the three files behind."""
        self._stack.__exit__(type(error), error, error.__traceback__)

    def _flush(self) -> None:
        if not self._pending:
            return
        self._rows.write_table(pa.Table.from_batches([stretch.rows for stretch in self._pending]))
        codes: list[str | None] = []
        messages: list[str | None] = []
        for stretch in self._pending:
            skipped = {row - stretch.piece.start: skip for row, skip in stretch.piece.skipped}
            for row in range(stretch.rows.num_rows):
                skip = skipped.get(row) if skipped else None
                codes.append(skip.code if skip else None)
                messages.append(skip.message if skip else None)
        ids = [custom_id for stretch in self._pending for custom_id in stretch.ids]
        self._lines.write_table(pa.table([ids, codes, messages], schema=LINES))
        self._pending, self._pending_rows = [], 0
