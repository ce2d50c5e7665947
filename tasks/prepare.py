"""Read, render and shard: from the dataset to one folder per chunk.

Nothing is posted before all of it is done; or, of a long source, before all of it is surveyed (`tasks.runs.preparation`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from configs import trials
from configs.errors import ConfigError, IntegrityError
from configs.home import Home
from configs.job import Job
from configs.progress import Reporter
from configs.providers.billing import has_fees
from tasks.ledger.records import ChunkRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState
from tasks.orchestration.step import step
from tasks.reuse.fingerprint import Fingerprints
from tasks.reuse.job_index import look_up
from tasks.reuse.look_up import LookUp
from tasks.reuse.planned import ReuseCount, added_duplicates, added_reuse
from tasks.runs.approval import too_dear
from tasks.runs.budgets import budget_states_of, check_budgets
from tasks.runs.chunk_files import prompt_of
from tasks.runs.estimates import estimate, planned_deadline
from tasks.runs.history import history_of_plan
from tasks.runs.postings import anything_posted
from tasks.runs.preparation import begin, note_bad_lines
from tasks.runs.prepared_ranges import PreparedRange, prepared_ranges, with_progress
from tasks.runs.queries import ledger_to_read
from tasks.runs.request import ResolvedRun
from tasks.runs.run_file import read_run_file, write_run_file
from tasks.runs.session import Run, shard_limits
from tasks.runs.step_lines import prepared_line
from tasks.stages.plan import RequestPlan, request_plans
from tasks.stages.prompt import tokens
from tasks.stages.prompt.recall import Recall
from tasks.stages.prompt.token_sample import SampleSummary
from tasks.stages.report.estimate import Estimate, together
from tasks.stages.report.formatting import count_with_noun
from tasks.stages.report.plan import Duplicates, Plan, PlannedGroup, PlannedReuse
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder

_LOOKED_FOR = "it goes on with what is in the run folder, and looks for its batches before it posts"
_SHOWN = 2_000  # characters of a part of the first prompt in a plan: a picture in a data URL has millions


@step("prepare", "prepare", prepared_line)
def prepare(run: Run, reporter: Reporter) -> str | None:
    """Lay out all chunks in the run folder and record them, once; a run that has them is left as it is.

    A long source is only surveyed: `advance_while_preparing` goes on from there. A prepare that was interrupted starts over:
    nothing of it was posted. If something was, the ledger is older than the folder, and the chunks are the folder's. Returns
    what it has done, in a line.
    """
    if run.restored:
        reporter.note(f"warning: the ledger did not know this run; {_LOOKED_FOR}")
    if run.record.state in (RunState.RUNNING, RunState.PUBLISHING) or run.ledger.chunks():
        return None
    if anything_posted(run.folder):
        _take_over(run, reporter)
        return None
    try:
        write_run_file(run.folder, run.record)
        run.folder.remove("chunks")
        plans = _request_plans(run, reporter)
        if begin(run, plans[0]):
            count = count_with_noun(run.record.ranges or 0, "range", "ranges")
            return f"surveyed {count} of {run.record.range_rows:,} rows; each is posted as soon as it is prepared"
        rows = plans[0].dataset.rows_hint
        # What only reading tells is read in order, by this process.
        engine = run.here if rows is None else run.engine_for(rows)
        ranges = tuple(prepared_ranges(run, plans, engine, reporter))
        chunks = tuple(chunk for each in ranges for chunk in each.chunks)
        samples = [_sample(ranges, place) for place in range(len(plans))]
        estimated = together(
            [
                _checked_estimate(run, each, chunks, sample)
                for each, sample in zip(plans, samples, strict=True)
            ]
        )
    except ConfigError:
        run.folder.remove("")
        run.ledger.delete_run()
        raise
    dataset = plans[0].dataset
    note_bad_lines(run, dataset)
    write_run_file(
        run.folder, run.record, chunks, dataset.fingerprint, dataset.bad_line_count, estimated.as_json()
    )
    run.ledger.replace_chunks(
        chunks,
        state=RunState.RUNNING,
        source_fingerprint=dataset.fingerprint,
        bad_lines=dataset.bad_line_count,
        estimate=estimated.as_json(),
        prompt_key=plans[0].prompt_key,
        prompt_kind=plans[0].prompt_kind if _is_counted(plans[0], samples[0]) else None,
    )
    run.reload()
    return _prepared_text(run.job, chunks)


def _request_plans(run: Run, reporter: Reporter) -> tuple[RequestPlan, ...]:
    job, limits = run.job, run.service.limits
    plans = request_plans(job, shard_limits(job, limits), limits.custom_id)
    for each in plans if job.reuse is not None else ():
        each.recall = _recall(
            each, run.all_runs, run.runs_url, run.record.created_at, reporter.note, redo=run.record.redo
        )
    return plans


def _sample(ranges: Sequence[PreparedRange], plan: int) -> SampleSummary:
    """What was counted of all ranges of one plan."""
    return reduce(SampleSummary.plus, (each.sample for each in ranges if each.plan == plan))


def _checked_estimate(
    run: Run, request_plan: RequestPlan, chunks: tuple[ChunkRecord, ...], sample: SampleSummary
) -> Estimate:
    """Of the plan's own chunks; ConfigError for a budget that cannot be kept."""
    ours = [chunk for chunk in chunks if chunk.prompt == prompt_of(request_plan.own_prompt)]
    estimated = estimate(
        request_plan.job,
        run.clock.now(),
        sum(chunk.tokens_estimate for chunk in ours),
        sum(chunk.requests for chunk in ours),
        sample,
        history_of_plan(run.all_runs, request_plan),
    )
    check_budgets(request_plan.job, run.clock.now(), estimated.answer_p95, estimated.uncounted)
    return estimated


def _is_counted(request_plan: RequestPlan, sample: SampleSummary) -> bool:
    """Whether all that the provider will count has been counted here: else its tokens say nothing of other prompts."""
    if request_plan.own_prompt is not None or has_fees(request_plan.job.prompt):
        return False
    return not sample.uncounted


def _prepared_text(job: Job, chunks: tuple[ChunkRecord, ...]) -> str:
    rows = count_with_noun(sum(chunk.rows for chunk in chunks), "row", "rows")
    text = f"prepared {rows} in {count_with_noun(len(chunks), 'chunk', 'chunks')}"
    if job.reuse is None:
        return text
    requests = sum(chunk.requests for chunk in chunks)
    return f"{text}: {requests:,} to post, the others have an earlier answer or are skipped"


def _recall(
    request_plan: RequestPlan,
    ledger: Ledger | None,
    runs_url: str,
    now: datetime,
    note: Callable[[str], None],
    *,
    redo: bool,
) -> Recall:
    """What a run that begins now takes from earlier ones; with `--redo` nothing."""
    job = request_plan.job
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
        range_rows=prepared.range_rows,
        ranges=prepared.ranges,
        ranges_prepared=prepared.ranges_prepared,
    )
    run.reload()
    reporter.note(f"warning: the ledger is older than this run; {_LOOKED_FOR}")


def plan(resolved: ResolvedRun, home: Home, reporter: Reporter) -> Plan:
    """What `prepare` and `submit` would do, counted; writes and posts nothing."""
    job = resolved.job
    ledger = ledger_to_read(home)
    index_notes: list[str] = []
    limits = job.provider.limits
    plans = request_plans(job, shard_limits(job, limits), limits.custom_id)
    EnrichedOutput(job.output.path, job.name).check_owner()
    for each in plans:
        history = history_of_plan(ledger, each)
        check_budgets(each.job, resolved.now, history.answer_p95 if history else None)
    first = plans[0].preview()
    for each in plans:
        each.recall = _recall(
            each, ledger, home.runs_url, resolved.now, index_notes.append, redo=resolved.redo
        )
    counts = [_counted(each, ledger, resolved.now, reporter) for each in plans]
    totals = sum((each.totals for each in counts), Counter[str]())
    skips = sum((each.skips for each in counts), Counter[str]())
    example = next((each.example for each in counts if each.example), None)
    estimated = together([each.estimate for each in counts])
    return Plan(
        job=job.name,
        key=resolved.key,
        job_file=resolved.request.job_path,
        command=resolved.request.command(resolved.request.limit),
        trial_command=resolved.request.command(trials.ROWS) if totals["rows"] > trials.ROWS else None,
        source=job.source.path,
        output=job.output.path,
        provider=job.provider.name,
        endpoint=_joined(each.job.prompt.endpoint for each in plans),
        model=_joined(each.job.prompt.model for each in plans),
        rows=totals["rows"],
        chunks=totals["chunks"],
        batches=totals["batches"],
        requests=totals["requests"],
        bytes=totals["bytes"],
        skipped=sum(skips.values()),
        skips=dict(skips),
        bad_lines=plans[0].dataset.bad_line_count,
        notes=(
            *plans[0].dataset.notes,
            *plans[0].notes,
            *_files_note(plans[0]),
            *dict.fromkeys(index_notes),
            *([f"it waits for approval: {reason}"] if (reason := too_dear(job.budget, estimated)) else []),
            *([f"the first skipped row: {example}"] if example else []),
        ),
        estimate=estimated,
        reuse=added_reuse([each.reuse for each in counts if each.reuse]),
        duplicates=added_duplicates([each.duplicates for each in counts if each.duplicates]),
        deadline=planned_deadline(
            job, resolved.now, tokens.to_tokens(totals["units"]), totals["requests"], estimated.input_margin
        ),
        budgets=budget_states_of((each.job for each in plans), ledger, "", resolved.now),
        groups=tuple(_planned_group(each) for each in counts) if plans[0].own_prompt else (),
        first_prompt="\n".join(f"[{name}] {_shown(text)}" for name, text in first),
    )


def _files_note(request_plan: RequestPlan) -> list[str]:
    """How many files the rows bring, once they have been walked."""
    columns = request_plan.renderer.file_columns
    if not columns:
        return []
    size = f"{request_plan.files_read:,} files of {request_plan.file_bytes:,} bytes"
    return [f"source.files: the rows bring {size} in {', '.join(columns)}, which go into the requests"]


def _joined(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


@dataclass(frozen=True)
class _Counts:
    """What a walk over the requests of one plan has counted: rows, chunks, batches, requests, bytes and token units; skipped
    rows by reason, and what the first of them was told."""

    job: Job
    totals: Counter[str]
    skips: Counter[str]
    example: str | None
    estimate: Estimate
    reuse: PlannedReuse | None
    duplicates: Duplicates | None


def _counted(request_plan: RequestPlan, ledger: Ledger | None, now: datetime, reporter: Reporter) -> _Counts:
    job = request_plan.job
    reuse = ReuseCount(request_plan)
    totals, skips, example = _count(request_plan, reuse, reporter)
    history = history_of_plan(ledger, request_plan)
    estimated = estimate(
        job,
        now,
        tokens.to_tokens(totals["units"]),
        totals["requests"],
        request_plan.summary(),
        history,
    )
    check_budgets(job, now, estimated.answer_p95, estimated.uncounted)
    planned_reuse = reuse.reuse(job, now, estimated, history) if job.reuse else None
    duplicates = reuse.duplicates(job, estimated, totals["requests"])
    return _Counts(job, totals, skips, example, estimated, planned_reuse, duplicates)


def _planned_group(counts: _Counts) -> PlannedGroup:
    return PlannedGroup(
        endpoint=counts.job.prompt.endpoint,
        model=counts.job.prompt.model,
        batches=counts.totals["batches"],
        requests=counts.totals["requests"],
        bytes=counts.totals["bytes"],
        estimate=counts.estimate,
    )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ... ({len(text):,} characters in all)"


def _count(
    request_plan: RequestPlan, reuse: ReuseCount, reporter: Reporter
) -> tuple[Counter[str], Counter[str], str | None]:
    """Render everything and keep nothing; see `_Counts`."""
    totals: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    example: str | None = None
    has_batch = False
    for row_slice in with_progress(request_plan, request_plan.counted_slices(), reporter):
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
    job, limits = resolved.job, resolved.job.provider.limits
    plans = request_plans(job, shard_limits(job, limits), limits.custom_id)
    for each in plans:
        each.preview()
    folder = RunFolder(str(out.absolute()))
    written: list[Path] = []
    with ExitStack() as stack:
        file: BinaryIO | None = None
        for row_slice in chain.from_iterable(
            with_progress(each, each.counted_slices(), reporter) for each in plans
        ):
            if file is None or row_slice.piece.new_chunk:
                stack.close()
                name = f"requests-{len(written) + 1:05d}.jsonl"
                file = stack.enter_context(folder.write(name))
                written.append(out / name)
            file.write(row_slice.piece.payload)
    return written
