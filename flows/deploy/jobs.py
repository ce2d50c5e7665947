"""The deployments of the jobs: `enrich/JOB` for each job file, with its schedule and a form of few fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyOptions, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.home import Home
from configs.job import Job
from configs.request import job_path
from flows.deploy.differences import Wanted
from tasks.storage.job_files import list_job_files, load_job_file

PATTERN = "enrich/ad-hoc"
"""Its pool, settings and limit are those of the jobs' deployments."""
_TAG = "job:"
_SLUG = "job"
_PAGE = 200
_FORM = ("job", "date", "limit", "dry_run", "key", "redo", "retry", "snapshot")
# What a worker has begun is not over, and needs its deployment to go on.
_OVER = [StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED]


@dataclass(frozen=True)
class DeployedJob:
    """A job file and its job."""

    file: str
    job: Job


def jobs_to_deploy(home: Home) -> list[DeployedJob]:
    """The jobs of all job files; NightmailError for the first that is wrong, or when there is none."""
    files = list_job_files(home.jobs_url)
    if not files:  # rather a wrong URL than the wish to remove the deployments of all jobs
        raise ConfigError(f"NIGHTMAIL_JOBS_URL {home.jobs_url}: holds no job file; correct it")
    return [DeployedJob(file, load_job_file(job_path(file))) for file in files]


def wanted_of_jobs(jobs: Sequence[DeployedJob], fixed: Sequence[Wanted]) -> list[Wanted]:
    """The deployments of the jobs beside those of prefect.yaml. ConfigError for a name that is taken."""
    pattern = next((each for each in fixed if each.name == PATTERN), None)
    if pattern is None:
        raise ConfigError(
            "prefect.yaml: has no deployment ad-hoc, whose pool and settings the jobs' take; put it back"
        )
    taken = {each.entry["name"]: "a deployment of prefect.yaml" for each in fixed}
    for deployed in jobs:
        name = deployed.job.name
        if name in taken:
            raise ConfigError(f"{deployed.file}: name: {name!r} is that of {taken[name]}; give it another")
        taken[name] = deployed.file
    return [_wanted(deployed, pattern) for deployed in jobs]


def _wanted(deployed: DeployedJob, pattern: Wanted) -> Wanted:
    job, schedule = deployed.job, deployed.job.schedule
    entry = {
        **pattern.entry,
        "name": job.name,
        "description": job.description or f"Enrich by {deployed.file}.",
        "tags": [*pattern.entry["tags"], _TAG + job.name],
        "parameters": {"job": deployed.file},
        "schedules": [],
    }
    if schedule is not None:
        times = _times(schedule.cron, schedule.timezone or job.timezone, deployed.file)
        entry["schedules"] = [
            {"slug": _SLUG, "cron": times.cron, "timezone": times.timezone, "active": schedule.active}
        ]
    return Wanted(entry, pattern.flow, _form(pattern.form, deployed.file), own_schedules=(_SLUG,))


def _times(cron: str, zone: str, file: str) -> CronSchedule:
    """The times as Prefect has them. ConfigError where it refuses what the check of the job file let pass: said of all jobs
    before the first is deployed."""
    try:
        return CronSchedule(cron=cron, timezone=zone)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(
            f"{file}: schedule.{problem['loc'][0]}: Prefect refuses {problem['input']!r}; write another"
        ) from error


def _form(form: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The form of ad-hoc with what a night of this job may need; what changes the job itself is left to ad-hoc."""
    properties = {name: form["properties"][name] for name in _FORM}
    # A choice of one: it says what is run, and the server refuses any other.
    description = properties["job"]["description"]
    kept = {name: properties["job"][name] for name in ("position", "title") if name in properties["job"]}
    return {
        **form,
        "properties": {**properties, "job": {"enum": [file], "description": description, **kept}},
    }


def make_deployment(client: SyncPrefectClient, wanted: Wanted) -> None:
    """Create or update it. Schedules that somebody added in the UI stay."""
    entry, pool = wanted.entry, wanted.entry["work_pool"]
    strategy = wanted.limit.get("collision_strategy")
    try:
        schedules = client.read_deployment_by_name(wanted.name).schedules
    except ObjectNotFound:
        schedules = []
    others = [
        DeploymentScheduleCreate(
            schedule=schedule.schedule,
            active=schedule.active,
            parameters=schedule.parameters,
            slug=schedule.slug,
        )
        for schedule in schedules
        if schedule.slug not in wanted.own_schedules
    ]
    own = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]),
            active=schedule["active"],
            slug=schedule["slug"],
        )
        for schedule in entry["schedules"]
    ]
    client.create_deployment(
        client.create_flow_from_name(wanted.flow),
        entry["name"],
        schedules=[*own, *others],
        concurrency_limit=wanted.limit.get("limit"),
        concurrency_options=ConcurrencyOptions(collision_strategy=strategy) if strategy else None,
        parameters=entry["parameters"],
        description=entry["description"],
        work_pool_name=pool["name"],
        tags=entry["tags"],
        entrypoint=entry["entrypoint"],
        parameter_openapi_schema=wanted.form,
        pull_steps=wanted.pull_steps,
        enforce_parameter_schema=entry.get("enforce_parameter_schema", True),
        job_variables=pool.get("job_variables", {}),
    )


def job_deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """The deployments on the server that were made for jobs, as their tags say."""
    tags = DeploymentFilter(tags=DeploymentFilterTags(all_=["nightmail"]))
    for page in range(1_000):
        found = client.read_deployments(deployment_filter=tags, limit=_PAGE, offset=page * _PAGE)
        yield from (each for each in found if _TAG + each.name in each.tags)
        if len(found) < _PAGE:
            return


def remove_deployment(client: SyncPrefectClient, deployment: DeploymentResponse, *, dry_run: bool) -> bool:
    """Delete it; False where a run of it has begun and is not over: then only its schedules are switched off."""
    mine = FlowRunFilter(
        start_time=FlowRunFilterStartTime(is_null_=False),
        state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=_OVER)),
    )
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    has_open_run = bool(client.read_flow_runs(flow_run_filter=mine, deployment_filter=of_it, limit=1))
    if dry_run:
        return not has_open_run
    if not has_open_run:
        client.delete_deployment(deployment.id)
        return True
    for schedule in deployment.schedules:
        if schedule.active:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    return False
