"""The jobs there are, each checked as `plan` does, but for its rows."""

from __future__ import annotations

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


def checked_jobs(home: Home, clock: Clock) -> list[CheckedJob]:
    """All job files, by name. ConfigError or StorageError where they cannot be listed."""
    checked: list[CheckedJob] = []
    for file in list_job_files(home.jobs_url):
        one = _checked(file, home, clock)
        namesake = next(
            (each for each in checked if one.job and each.job and each.job.name == one.job.name), None
        )
        if namesake and one.job:
            one = CheckedJob(
                file, problem=f"{file}: name: {one.job.name!r} is that of {namesake.file}; give it another"
            )
        checked.append(one)
    return checked


def _checked(file: str, home: Home, clock: Clock) -> CheckedJob:
    request = RunRequest(file)
    try:
        job = load_job_file(request.job_path)
    except NightmailError as error:
        return CheckedJob(file, problem=str(error))
    start = next_start(job.schedule, job.timezone, clock.now()) if job.schedule else None
    try:
        _check(request, home, clock)
    except (NightmailError, OSError) as error:
        return CheckedJob(file, job, start, str(error))
    return CheckedJob(file, job, start)


def _check(request: RunRequest, home: Home, clock: Clock) -> None:
    """What building a plan finds. A file of ready requests has no other form than its lines, which are not read."""
    job = resolve_request(request, home, clock).job
    EnrichedOutput(job.output.path, job.name).check_owner()
    if job.source.format != "requests":
        limits = job.provider.limits
        RequestPlan(job, shard_limits(job, limits), limits.custom_id)
