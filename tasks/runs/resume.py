"""Resume a run that exists: apply the current job file, and reopen a cancelled run or one with rows to retry."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from configs.errors import ConfigError
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import ChunkState, RunState
from tasks.runs.chunk_files import rows_name
from tasks.runs.follow_ups import renderer_of
from tasks.runs.request import ResolvedRun
from tasks.runs.session import Run
from tasks.runs.source_changes import source_change
from tasks.stages.merge.merge_chunk import POOR_ANSWERS
from tasks.stages.report.receipt import rows_by_status
from tasks.stages.row_status import RowStatus


def resume(run: Run, resolved: ResolvedRun) -> None:
    """Resume the run under the current job: polling, retries and limits may have changed, the output has not.

    A cancelled run continues with its unanswered rows. A finished one stays as it is unless `retry` is asked for: then the
    rows that `retry.on` names get `retry.max_attempts` more attempts, with the params of now. ConfigError if the run folder
    or the time is gone.
    """
    state = run.record.state
    told = _is_told_to_go_on(run, resolved)
    if state is RunState.CANCELLED:
        _reopen_cancelled(run, resolved)
    elif state is not RunState.FINISHED:
        _update_job(run, resolved)
    elif resolved.retry:
        _reopen_finished(run, resolved)
    if run.record.ranges_missing:
        _follow_source(run, resolved)
    if told:
        run.end_pause("told to go on", pauses=0)


def _follow_source(run: Run, resolved: ResolvedRun) -> None:
    """A source that changed before all its ranges were prepared: with `--snapshot` the run has the rows of those that are, and
    no others; where there are none, it begins anew."""
    change = source_change(run.job, run.record.source_fingerprint)
    if change and not run.record.ranges_prepared:
        run.ledger.update_run(
            state=RunState.PREPARING,
            range_rows=None,
            ranges=None,
            ranges_prepared=None,
            source_fingerprint=None,
        )
        run.reload()
        return
    if not change or not resolved.snapshot:
        return
    missing = run.record.ranges_missing
    run.ledger.leave_ranges_out(
        missing, f"{missing} of {run.record.ranges} ranges: the source {change}, --snapshot"
    )
    run.reload()


def _is_told_to_go_on(run: Run, resolved: ResolvedRun) -> bool:
    """Whether a person has started the run again in its pause, by a command or another flow run. What has waked the same flow
    run, Prefect knows: see `heed_resume` in tasks/approve.py."""
    if run.paused_until is None:
        return False
    return resolved.origin is None or resolved.origin != run.record.origin


def _reopen_cancelled(run: Run, resolved: ResolvedRun) -> None:
    run.ledger.reopen(
        _chunks_to_retry(run, resolved),
        "the cancelled run is resumed",
        state=RunState.RUNNING if run.ledger.chunks() or run.record.ranges else RunState.PREPARING,
        spec=_job_spec(run, resolved),
        # Not the flow run that was cancelled: the sweep cancels runs whose flow run is Cancelled.
        origin=resolved.origin,
    )
    run.reload()


def _update_job(run: Run, resolved: ResolvedRun) -> None:
    values = {"spec": _job_spec(run, resolved), "origin": resolved.origin or run.record.origin}
    if values != {"spec": run.record.spec, "origin": run.record.origin}:
        run.ledger.update_run(**values)
        run.reload()


def _reopen_finished(run: Run, resolved: ResolvedRun) -> None:
    chunks = _chunks_to_retry(run, resolved)
    if not chunks:
        _refuse_params_for_nobody(run, resolved)
        return
    limit = resolved.job.run.give_up_after
    if run.has_lasted(limit):
        raise ConfigError(
            f"{run.title}: run.give_up_after is {limit}, which has passed since the run began on"
            f" {run.record.created_at:%Y-%m-%d %H:%M} UTC; --set run.give_up_after=null gives its unanswered rows their time"
        )
    if not run.folder.exists(rows_name(chunks[0].number)):
        raise ConfigError(
            f"{run.title}: {run.folder.url} was deleted by `nightmail clean`, and with it the snapshot of the rows;"
            " --redo asks all rows again"
        )
    _check_params(run, resolved, chunks[0])
    run.ledger.reopen(
        chunks,
        "its unanswered rows are asked again",
        retry=True,
        state=RunState.RUNNING,
        receipt=None,
        finished_at=None,
        spec=resolved.job.model_dump(mode="json", by_alias=True),
        origin=resolved.origin,
    )
    run.reload()


def _refuse_params_for_nobody(run: Run, resolved: ResolvedRun) -> None:
    """ConfigError for new params when `retry.on` names no row that could be asked with them, but others could be named."""
    if run.job.prompt.params == resolved.job.prompt.params:
        return
    counts = rows_by_status(chunk.stats for chunk in run.ledger.chunks() if chunk.stats)
    others = [f"{counts[status]:,} {status}" for status in POOR_ANSWERS if counts.get(status)]
    if others:
        raise ConfigError(
            f"{run.title}: retry.on names none of its rows ({', '.join(others)}), so nobody is asked with these params;"
            " name their status in retry.on"
        )


def _check_params(run: Run, resolved: ResolvedRun, chunk: ChunkRecord) -> None:
    """ConfigError for params that the rows' requests cannot be made with. Ready requests are asked as they are."""
    if chunk.prompt is not None:
        return
    with run.folder.read(rows_name(chunk.number)) as rows, pa.ipc.open_stream(rows) as stream:
        renderer_of(resolved.job, stream.schema.names)


def _job_spec(run: Run, resolved: ResolvedRun) -> dict[str, Any]:
    """The job as it is now. What rows are asked with is decided when a finished run is told to ask again, and stays."""
    spec = resolved.job.model_dump(mode="json", by_alias=True)
    return {**spec, "prompt": {**spec["prompt"], "params": run.record.spec["prompt"]["params"]}}


def _chunks_to_retry(run: Run, resolved: ResolvedRun) -> list[ChunkRecord]:
    """The merged chunks with rows that another attempt may answer.

    A chunk's stats count them by the `retry.on` of its merge. If the job now names more reasons, every chunk with a row
    that lacks an answer is included, and its next merge decides row by row.
    """
    more = frozenset(resolved.job.retry.on) - frozenset(run.job.retry.on)
    return [
        chunk
        for chunk in run.ledger.chunks()
        if chunk.state is ChunkState.MERGED and chunk.stats and _has_rows_to_retry(chunk.stats, more)
    ]


def _has_rows_to_retry(stats: dict[str, Any], more: frozenset[str]) -> bool:
    """`more` are the reasons that the job names since the merge: statuses of poor answers by themselves, any other may be
    that of every row without an answer."""
    if stats["unanswered"]:
        return True
    unanswered = {status for status in RowStatus if not status.has_answer} - {RowStatus.SKIPPED}
    poor = {status for status in POOR_ANSWERS if status in more}
    named = poor | (unanswered if more - frozenset(POOR_ANSWERS) else set())
    return any(stats["by_status"].get(status) for status in named)
