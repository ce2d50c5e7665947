"""The jobs there are, each checked as `plan` does, but for its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from configs.clock import Clock
from configs.errors import NightmailError
from configs.home import Home
from configs.job import Job
from configs.request import RunRequest
from configs.schedule import next_start
from tasks.runs.request import resolve_request
from tasks.runs.session import shard_limits
from tasks.stages.plan import RequestPlan
from tasks.storage.job_files import list_job_files, load_job_file
from tasks.storage.output import EnrichedOutput


@dataclass(frozen=True)
class CheckedJob:
    """A job file; its job, where it can be loaded; when it starts next by its schedule; and what is wrong with it, in a line."""

    file: str
    job: Job | None = None
    next_start: datetime | None = None
    problem: str | None = None


def checked_jobs(home: Home, clock: Clock, fixed_names: Iterable[str]) -> list[CheckedJob]:
    """All job files, by name; `fixed_names` are those of the deployments of prefect.yaml, which no job can have.

    ConfigError or StorageError where they cannot be listed.
    """
    checked: list[CheckedJob] = []
    taken = dict.fromkeys(fixed_names, "a deployment of prefect.yaml")
    for file in list_job_files(home.jobs_url):
        one = _checked(file, home, clock)
        if one.job and one.job.name in taken:
            name = one.job.name
            one = CheckedJob(
                file, problem=f"{file}: name: {name!r} is that of {taken[name]}; give it another"
            )
        elif one.job:
            taken[one.job.name] = file
        checked.append(one)
    return checked


def _checked(file: str, home: Home, clock: Clock) -> CheckedJob:
    request = RunRequest(file)
    try:
        job = load_job_file(request.job_path)
    except NightmailError as error:
        return CheckedJob(file, problem=_problem(request, error))
    start = next_start(job.schedule, job.timezone, clock.now()) if job.schedule else None
    try:
        _check(request, home, clock)
    except (NightmailError, OSError) as error:
        return CheckedJob(file, job, start, _problem(request, error))
    return CheckedJob(file, job, start)


def _problem(request: RunRequest, error: Exception) -> str:
    """What is wrong, after the job's file: many errors name a path or a column alone, and any job may have that."""
    text = str(error)
    return text if text.startswith((f"{request.job}:", f"{request.job_path}:")) else f"{request.job}: {text}"


def _check(request: RunRequest, home: Home, clock: Clock) -> None:
    """What building a plan finds. A file of ready requests has no other form than its lines, which are not read."""
    job = resolve_request(request, home, clock).job
    EnrichedOutput(job.output.path, job.name).check_owner()
    if job.source.format != "requests":
        limits = job.provider.limits
        RequestPlan(job, shard_limits(job, limits), limits.custom_id)
