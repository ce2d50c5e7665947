"""Read, render and shard: from the dataset to one folder per chunk. Nothing is posted before all of it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from configs import trials
from configs.errors import ConfigError, IntegrityError
from configs.home import Home
from configs.job import Job
from configs.progress import Progress, Reporter
from configs.providers.billing import has_fees
from tasks.ledger.records import ChunkRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState
from tasks.orchestration.step import step
from tasks.reuse.fingerprint import Fingerprints
from tasks.reuse.job_index import look_up
from tasks.reuse.look_up import LookUp
from tasks.reuse.planned import ReuseCount
from tasks.runs.approval import too_dear
from tasks.runs.budgets import budget_states, check_budgets
from tasks.runs.chunk_files import write_chunks
from tasks.runs.estimates import estimate
from tasks.runs.history import history_of
from tasks.runs.postings import anything_posted
from tasks.runs.queries import ledger_to_read
from tasks.runs.request import ResolvedRun
from tasks.runs.run_file import read_run_file, write_run_file
from tasks.runs.session import Run, shard_limits
from tasks.stages.plan import RequestPlan, RowSlice
from tasks.stages.prompt import tokens
from tasks.stages.prompt.recall import Recall
from tasks.stages.report.estimate import Estimate
from tasks.stages.report.plan import Plan
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder

_LOOKED_FOR = "it goes on with what is in the run folder, and looks for its batches before it posts"
_SHOWN = 2_000  # characters of a part of the first prompt in a plan: a picture in a data URL has millions


@step("prepare", "prepare")
def prepare(run: Run, reporter: Reporter) -> None:
    """Lay out all chunks in the run folder and record them, once; a run that has them is left as it is.

    A prepare that was interrupted starts over: nothing of it was posted. If something was, the ledger is older than the
    folder, and the chunks are the folder's.
    """
    if run.restored:
        reporter.note(f"warning: the ledger did not know this run; {_LOOKED_FOR}")
    if run.record.state in (RunState.RUNNING, RunState.PUBLISHING) or run.ledger.chunks():
        return
    if anything_posted(run.folder):
        _take_over(run, reporter)
        return
    try:
        write_run_file(run.folder, run.record)
        run.folder.remove("chunks")
        request_plan = _request_plan(run, reporter)
        chunks = tuple(
            write_chunks(
                run.folder,
                run.id,
                request_plan.dataset.schema,
                _with_progress(request_plan, request_plan.row_slices(), reporter),
            )
        )
        estimated = _estimate(run, request_plan, chunks)
        check_budgets(run.job, run.clock.now(), estimated)
    except ConfigError:
        run.folder.remove("")
        run.ledger.delete_run()
        raise
    dataset = request_plan.dataset
    for line in dataset.bad_lines:
        run.ledger.note("bad line", f"{line.path} line {line.line}: {line.reason}")
    write_run_file(
        run.folder, run.record, chunks, dataset.fingerprint, dataset.bad_line_count, estimated.as_json()
    )
    run.ledger.replace_chunks(
        chunks,
        state=RunState.RUNNING,
        source_fingerprint=dataset.fingerprint,
        bad_lines=dataset.bad_line_count,
        estimate=estimated.as_json(),
        prompt_key=request_plan.prompt_key,
        prompt_kind=request_plan.prompt_kind if _is_counted(run.job, request_plan) else None,
    )
    run.reload()
    reporter.note(_prepared_text(run.job, chunks))


def _request_plan(run: Run, reporter: Reporter) -> RequestPlan:
    job = run.job
    request_plan = RequestPlan(job, shard_limits(job, run.service.limits), run.service.limits.custom_id)
    if job.reuse is not None:
        request_plan.recall = _recall(
            job,
            request_plan,
            run.all_runs,
            run.runs_url,
            run.record.created_at,
            reporter.note,
            redo=run.record.redo,
        )
    return request_plan


def _estimate(run: Run, request_plan: RequestPlan, chunks: tuple[ChunkRecord, ...]) -> Estimate:
    return estimate(
        run.job,
        run.clock.now(),
        sum(chunk.tokens_estimate for chunk in chunks),
        sum(chunk.requests for chunk in chunks),
        request_plan.sample.summary(),
        history_of(run.all_runs, request_plan.prompt_key, request_plan.prompt_kind),
    )


def _is_counted(job: Job, request_plan: RequestPlan) -> bool:
    """Whether all that the provider will count has been counted here: else its tokens say nothing of other prompts."""
    return not request_plan.sample.summary().uncounted and not has_fees(job.prompt)


def _prepared_text(job: Job, chunks: tuple[ChunkRecord, ...]) -> str:
    text = f"prepared {sum(chunk.rows for chunk in chunks):,} rows in {len(chunks)} chunks"
    if job.reuse is None:
        return text
    requests = sum(chunk.requests for chunk in chunks)
    return f"{text}: {requests:,} to post, the others have an earlier answer or are skipped"


def _recall(
    job: Job,
    request_plan: RequestPlan,
    ledger: Ledger | None,
    runs_url: str,
    now: datetime,
    note: Callable[[str], None],
    *,
    redo: bool,
) -> Recall:
    """What a run that begins now takes from earlier ones; with `--redo` nothing."""
    fingerprints = Fingerprints(job, request_plan.renderer.blank_line)
    if job.reuse is None or redo:
        return LookUp(fingerprints)
    return look_up(fingerprints, job.name, job.reuse, ledger, runs_url, now, note)


def _take_over(run: Run, reporter: Reporter) -> None:
    """Take the chunks that the run folder holds: the ledger is older than their posting."""
    prepared = read_run_file(run.folder)
    if prepared is None or prepared.id != run.id:
        raise IntegrityError(
            f"{run.title}: {run.folder.url} holds what another run posted; move it away, or give another --key"
        )
    run.ledger.replace_chunks(
        prepared.chunks,
        state=RunState.RUNNING,
        source_fingerprint=prepared.source_fingerprint,
        bad_lines=prepared.bad_lines,
        estimate=prepared.estimate,
    )
    run.reload()
    reporter.note(f"warning: the ledger is older than this run; {_LOOKED_FOR}")


def plan(resolved: ResolvedRun, home: Home, reporter: Reporter) -> Plan:
    """What `prepare` and `submit` would do, counted; writes and posts nothing."""
    job = resolved.job
    check_budgets(job, resolved.now)
    ledger = ledger_to_read(home)
    index_notes: list[str] = []
    limits = job.provider.limits
    request_plan = RequestPlan(job, shard_limits(job, limits), limits.custom_id)
    EnrichedOutput(job.output.path, job.name).check_owner()
    first = request_plan.preview()
    request_plan.recall = _recall(
        job, request_plan, ledger, home.runs_url, resolved.now, index_notes.append, redo=resolved.redo
    )
    reuse = ReuseCount(request_plan)
    totals, skips, example = _count(request_plan, reuse, reporter)
    history = history_of(ledger, request_plan.prompt_key, request_plan.prompt_kind)
    estimated = estimate(
        job,
        resolved.now,
        tokens.to_tokens(totals["units"]),
        totals["requests"],
        request_plan.sample.summary(),
        history,
    )
    check_budgets(job, resolved.now, estimated)
    planned_reuse = reuse.reuse(job, resolved.now, estimated, history) if job.reuse else None
    return Plan(
        job=job.name,
        key=resolved.key,
        job_file=resolved.request.job_path,
        command=resolved.request.command(resolved.request.limit),
        trial_command=resolved.request.command(trials.ROWS) if totals["rows"] > trials.ROWS else None,
        source=job.source.path,
        output=job.output.path,
        provider=job.provider.name,
        endpoint=job.prompt.endpoint,
        model=job.prompt.model,
        rows=totals["rows"],
        chunks=totals["chunks"],
        batches=totals["batches"],
        requests=totals["requests"],
        bytes=totals["bytes"],
        skipped=sum(skips.values()),
        skips=dict(skips),
        bad_lines=request_plan.dataset.bad_line_count,
        notes=(
            *request_plan.dataset.notes,
            *request_plan.notes,
            *index_notes,
            *([f"it waits for approval: {reason}"] if (reason := too_dear(job.budget, estimated)) else []),
            *([f"the first skipped row: {example}"] if example else []),
        ),
        estimate=estimated,
        reuse=planned_reuse,
        duplicates=reuse.duplicates(job, estimated, totals["requests"]),
        budgets=budget_states(job, ledger, "", resolved.now),
        first_prompt="\n".join(f"[{name}] {_shown(text)}" for name, text in first),
    )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ... ({len(text):,} characters in all)"


def _count(
    request_plan: RequestPlan, reuse: ReuseCount, reporter: Reporter
) -> tuple[Counter[str], Counter[str], str | None]:
    """Render everything and keep nothing: rows, chunks, batches, requests, bytes and token units; skipped rows by reason, and what
    the first of them was told."""
    totals: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    example: str | None = None
    has_batch = False
    for row_slice in _with_progress(request_plan, request_plan.counted_slices(), reporter):
        piece = row_slice.piece
        if row_slice.recalled is not None:
            reuse.add(row_slice.recalled)
        has_batch = has_batch and not piece.new_chunk
        totals["batches"] += bool(piece.requests) and not has_batch
        has_batch = has_batch or bool(piece.requests)
        skips.update(skip.code for _, skip in piece.skipped)
        example = example or next((skip.message for _, skip in piece.skipped), None)
        totals.update(
            rows=row_slice.rows.num_rows,
            chunks=int(piece.new_chunk),
            requests=piece.requests,
            bytes=len(piece.payload),
            units=piece.token_units,
        )
    return totals, skips, example


def render_files(resolved: ResolvedRun, out: Path, reporter: Reporter) -> list[Path]:
    """Write the request files alone into an empty or new folder; their paths."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is not an empty folder; choose a new one")
    limits = resolved.job.provider.limits
    request_plan = RequestPlan(resolved.job, shard_limits(resolved.job, limits), limits.custom_id)
    request_plan.preview()
    folder = RunFolder(str(out.absolute()))
    written: list[Path] = []
    with ExitStack() as stack:
        file: BinaryIO | None = None
        for row_slice in _with_progress(request_plan, request_plan.counted_slices(), reporter):
            if file is None or row_slice.piece.new_chunk:
                stack.close()
                name = f"requests-{len(written) + 1:05d}.jsonl"
                file = stack.enter_context(folder.write(name))
                written.append(out / name)
            file.write(row_slice.piece.payload)
    return written


def _with_progress(
    request_plan: RequestPlan, row_slices: Iterator[RowSlice], reporter: Reporter
) -> Iterator[RowSlice]:
    done, total = 0, request_plan.dataset.rows_hint
    for row_slice in row_slices:
        yield row_slice
        done += row_slice.rows.num_rows
        reporter.progress(Progress("preparing", done, total, "rows"))
