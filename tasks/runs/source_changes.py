"""What has become of a source since a run read it, and what the run then refuses."""

from __future__ import annotations

from configs.errors import (
    ConfigError,
    InputError,
)
from configs.job import Job
from tasks.ledger.records import RunRecord
from tasks.ledger.transitions import RunState
from tasks.runs.request import ResolvedRun
from tasks.stages.read import source_fingerprint


def refuse_other_requests(resolved: ResolvedRun, latest: RunRecord) -> None:
    """ConfigError when a finished run posted another file of that path: its answers are none to these requests."""
    try:
        fingerprint = source_fingerprint(resolved.job.source)
    except InputError:  # it is gone; what was answered is still there
        return
    if latest.source_fingerprint not in (None, fingerprint):
        raise ConfigError(
            f"{latest.title}: {resolved.job.source.path} has changed since this run posted it; give the new requests another"
            " name (--name, --key), or --redo to replace the output"
        )


def refuse_changed_source(resolved: ResolvedRun, latest: RunRecord) -> None:
    """ConfigError when the source changed and the run still has rows to post: the user decides, by --snapshot.

    A flow run that wakes is not asked again: it was allowed when it started, and nobody could answer at night.
    """
    asks_again = resolved.retry and latest.state is RunState.FINISHED
    will_post = asks_again or latest.state in (RunState.RUNNING, RunState.CANCELLED)
    if not will_post or resolved.snapshot or (resolved.origin and resolved.origin == latest.origin):
        return
    if latest.ranges_missing:
        if not latest.ranges_prepared:  # nothing of it can have been posted
            return
        refuse_changed_ranges(latest, resolved.job)
    elif change := source_change(resolved.job, latest.source_fingerprint):
        raise ConfigError(
            f"{latest.title}: {resolved.job.source.path} {change} since this run read it;"
            " --snapshot goes on with the rows as they were, another --key starts anew"
        )


def source_change(job: Job, fingerprint: str | None) -> str:
    """What has become of the source since it had that fingerprint, in words; nothing while it is the same."""
    try:
        return "has changed" if source_fingerprint(job.source) != fingerprint else ""
    except InputError:
        return "is gone"


def refuse_changed_ranges(run: RunRecord, job: Job) -> None:
    """ConfigError when the source of a run changed before all its ranges were prepared: no run holds two states of a row."""
    if change := source_change(job, run.source_fingerprint):
        raise ConfigError(
            f"{run.title}: {job.source.path} {change}, and {run.ranges_prepared} of {run.ranges} ranges of it are prepared;"
            " put it back, or --snapshot ends the run with the rows prepared so far, another --key starts anew"
        )
