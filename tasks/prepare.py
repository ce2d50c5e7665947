"""Read, render and shard: from the dataset to one folder per chunk. Nothing is posted before all of it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from configs.errors import ConfigError
from configs.progress import Progress, Reporter
from tasks.ledger.transitions import RunState
from tasks.orchestration.step import step
from tasks.providers import registry
from tasks.runs.chunk_files import write_chunks
from tasks.runs.prices import price_of
from tasks.runs.request import Order
from tasks.runs.session import Run, shard_limits
from tasks.stages.cost.price import Price
from tasks.stages.plan import RequestPlan, RowSlice
from tasks.stages.prompt import tokens
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder


@step("prepare", "prepare")
def prepare(run: Run, reporter: Reporter) -> None:
    """Lay out all chunks in the run folder and record them, once; a run that has them is left as it is.

    A prepare that was interrupted starts over: nothing of it was posted.
    """
    if run.record.state in (RunState.RUNNING, RunState.PUBLISHING) or run.ledger.chunks(run.id):
        return
    try:
        run.folder.remove("chunks")
        request_plan = RequestPlan(
            run.job, shard_limits(run.job, run.service.limits), run.service.limits.custom_id
        )
        chunks = tuple(
            write_chunks(run.folder, run.id, request_plan.dataset.schema, _watched(request_plan, reporter))
        )
    except ConfigError:
        run.folder.remove("")
        run.ledger.forget(run.lease)
        raise
    for line in request_plan.dataset.bad_lines:
        run.ledger.note(run.lease, "bad line", f"{line.path} line {line.line}: {line.reason}")
    run.ledger.replace_chunks(
        run.lease,
        chunks,
        state=RunState.RUNNING,
        source_fingerprint=request_plan.dataset.fingerprint,
        bad_lines=request_plan.dataset.bad_line_count,
    )
    reporter.note(f"prepared {sum(chunk.rows for chunk in chunks):,} rows in {len(chunks)} chunks")


def plan(order: Order, reporter: Reporter) -> dict[str, Any]:
    """What `prepare` and `submit` would do, counted; writes and posts nothing."""
    job = order.job
    limits = registry.limits(job.provider)
    request_plan = RequestPlan(job, shard_limits(job, limits), limits.custom_id)
    EnrichedOutput(job.output.path, job.name).check_owner()
    first = request_plan.preview()
    totals: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    for row_slice in _watched(request_plan, reporter):
        piece = row_slice.piece
        skips.update(skip.code for _, skip in piece.skipped)
        totals.update(
            rows=row_slice.rows.num_rows,
            chunks=int(piece.new_chunk),
            requests=piece.requests,
            bytes=len(piece.payload),
            units=piece.token_units,
        )
    prompt_tokens = tokens.to_tokens(totals["units"])
    price = price_of(job, order.now)
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
        "bad_lines": request_plan.dataset.bad_line_count,
        "prompt_tokens": prompt_tokens,
        "tokens_method": tokens.METHOD,
        "prompt_cost_usd": None if price is None else _prompt_cost(price, prompt_tokens, totals["requests"]),
        "first_prompt": "\n".join(f"[{name}] {text}" for name, text in first),
    }


def _prompt_cost(price: Price, tokens_in_all: int, requests: int) -> float:
    """By the average prompt: what a token costs may go by the length of the prompt it is in."""
    size, longer = divmod(tokens_in_all, max(1, requests))
    return price.cost_usd(size) * (requests - longer) + price.cost_usd(size + 1) * longer


def render_files(order: Order, out: Path, reporter: Reporter) -> list[Path]:
    """Write the request files alone into an empty or new folder; their paths."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is not an empty folder; choose a new one")
    limits = registry.limits(order.job.provider)
    request_plan = RequestPlan(order.job, shard_limits(order.job, limits), limits.custom_id)
    request_plan.preview()
    folder = RunFolder(str(out.absolute()))
    written: list[Path] = []
    with ExitStack() as stack:
        file: BinaryIO | None = None
        for row_slice in _watched(request_plan, reporter):
            if file is None or row_slice.piece.new_chunk:
                stack.close()
                name = f"requests-{len(written) + 1:05d}.jsonl"
                file = stack.enter_context(folder.write(name))
                written.append(out / name)
            file.write(row_slice.piece.payload)
    return written


def _watched(request_plan: RequestPlan, reporter: Reporter) -> Iterator[RowSlice]:
    done, total = 0, request_plan.dataset.rows_hint
    for row_slice in request_plan.row_slices():
        yield row_slice
        done += row_slice.rows.num_rows
        reporter.progress(Progress("preparing", done, total, "rows"))
