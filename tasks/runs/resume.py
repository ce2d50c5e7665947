"""A run that exists is asked for again: one that was over may go on, under the job file as it is now."""

from __future__ import annotations

from typing import Any

from configs.errors import ConfigError
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import ChunkState, RunState
from tasks.runs.chunk_files import rows_name
from tasks.runs.request import ResolvedRun
from tasks.runs.session import Run
from tasks.stages.row_status import RowStatus


def resume(run: Run, resolved: ResolvedRun) -> None:
    """Go on under the job as it is asked for now: its pace, retries and limits may have changed, its output not.

    A cancelled run goes on with what is left of it. A finished one stays as it is unless `retry` is asked for: then its
    unanswered rows have `retry.max_attempts` attempts more. Raises ConfigError when there is nothing left to retry with.
    """
    state = run.record.state
    if state is RunState.CANCELLED:
        _go_on(run, resolved)
    elif state is not RunState.FINISHED:
        _adopt(run, resolved)
    elif resolved.retry:
        _retry(run, resolved)


def _go_on(run: Run, resolved: ResolvedRun) -> None:
    run.ledger.reopen(
        _lacking(run, resolved),
        "the cancelled run goes on",
        state=RunState.RUNNING if run.ledger.chunks() else RunState.PREPARING,
        spec=_spec(resolved),
        # The flow run with which it was cancelled is none to follow: a sweep would cancel this run as well.
        origin=resolved.origin,
    )
    run.reload()


def _adopt(run: Run, resolved: ResolvedRun) -> None:
    values = {"spec": _spec(resolved), "origin": resolved.origin or run.record.origin}
    if values != {"spec": run.record.spec, "origin": run.record.origin}:
        run.ledger.update_run(**values)
        run.reload()


def _retry(run: Run, resolved: ResolvedRun) -> None:
    waiting = _lacking(run, resolved)
    if not waiting:
        return
    limit = resolved.job.run.give_up_after
    if run.is_past(limit):
        raise ConfigError(
            f"{run.title}: run.give_up_after is {limit}, which has passed since the run began on"
            f" {run.record.created_at:%Y-%m-%d %H:%M} UTC; --set run.give_up_after=null gives its unanswered rows their time"
        )
    if not run.folder.exists(rows_name(waiting[0].number)):
        raise ConfigError(
            f"{run.title}: {run.folder.url} was cleaned away, and with it the rows as they were asked;"
            " --redo asks all of them"
        )
    run.ledger.reopen(
        waiting,
        "its unanswered rows are asked again",
        retry=True,
        state=RunState.RUNNING,
        receipt=None,
        finished_at=None,
        spec=_spec(resolved),
        origin=resolved.origin,
    )
    run.reload()


def _spec(resolved: ResolvedRun) -> dict[str, Any]:
    return resolved.job.model_dump(mode="json", by_alias=True)


def _lacking(run: Run, resolved: ResolvedRun) -> list[ChunkRecord]:
    """The merged chunks with rows that asking again may help: which of them, their merge says by today's `retry.on`."""
    wider = bool(set(resolved.job.retry.on) - set(run.job.retry.on))
    return [
        chunk
        for chunk in run.ledger.chunks()
        if chunk.state is ChunkState.MERGED and chunk.stats and _lacks(chunk.stats, wider=wider)
    ]


def _lacks(stats: dict[str, Any], *, wider: bool) -> bool:
    lacking = (status for status in RowStatus if not status.has_answer and status is not RowStatus.SKIPPED)
    return bool(stats["unanswered"]) or (wider and any(stats["by_status"].get(status) for status in lacking))
