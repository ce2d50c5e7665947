"""Resolve a request into a run: the job file loaded, overridden and filled in for one date and key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from configs.clock import Clock
from configs.errors import ConfigError
from configs.home import Home
from configs.job import Job
from configs.load import logical_date, resolve, run_key
from configs.request import RunRequest
from configs.trials import is_trial, key_without_mark, trial_key, trial_output
from tasks.ledger import database
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger
from tasks.storage.job_files import load_job_file


@dataclass(frozen=True)
class ResolvedRun:
    """A job filled in for one date and key, with the options for a run that exists already.

    `key` is the run's own, that of a trial marked as one. `now` is when it was resolved; `origin` the flow run that asks
    for it.
    """

    job: Job
    key: str
    logical_date: date
    now: datetime
    request: RunRequest
    redo: bool = False
    retry: bool = False
    snapshot: bool = False
    origin: str | None = None


def requested_job(request: RunRequest) -> Job:
    """The job file with the request's overrides; placeholders such as `{date}` are not filled in yet.

    Raises ConfigError for a job file or a request that is wrong, whatever the date, StorageError for a store that cannot be
    reached.
    """
    if request.redo and request.retry:
        raise ConfigError(
            "retry asks a finished run's rows that retry.on names again, redo all its rows: give one of the two"
        )
    return load_job_file(request.job_path, request.job_overrides)


def resolve_request(
    request: RunRequest,
    home: Home,
    clock: Clock,
    *,
    origin: str | None = None,
    expected_start: datetime | None = None,
) -> ResolvedRun:
    """Load the job file and fill in date, key and overrides.

    Without a date, the day before `expected_start` is used: a run that starts late, after midnight, keeps its date.
    A flow run (`origin`) that wakes keeps the date and key it began with, whatever day it is.
    """
    job = requested_job(request)
    earlier_run = _run_of_flow_run(origin, home, clock)
    day = (
        earlier_run.logical_date
        if earlier_run
        else logical_date(job, request.date, expected_start or clock.now())
    )
    key = key_without_mark(earlier_run.key) if earlier_run else run_key(day, request.key or None)
    trial = is_trial(earlier_run.key) if earlier_run else request.is_trial
    return ResolvedRun(
        job_for(job, day, key, trial=trial),
        trial_key(key) if trial else key,
        day,
        clock.now(),
        request,
        # A flow run that wakes has its parameters again, but its redo or retry is already under way.
        redo=request.redo and earlier_run is None,
        retry=request.retry and earlier_run is None,
        snapshot=request.snapshot,
        origin=origin,
    )


def job_for(job: Job, day: date, key: str, *, trial: bool) -> Job:
    """The job filled in for one date and key, with an output of its own if it is for a trial."""
    filled = resolve(job, day, key)
    if not trial:
        return filled
    output = filled.output.model_copy(update={"path": trial_output(filled.output.path, key)})
    return filled.model_copy(update={"output": output})


def _run_of_flow_run(origin: str | None, home: Home, clock: Clock) -> RunRecord | None:
    if origin is None or not database.exists(home.ledger_url):
        return None
    return Ledger(home.ledger_url, clock).run_of_origin(origin)
