"""Compare a deployment as it shall be with the server's: the fields that a deploy would write.

Deploying what has not changed would be harmless for runs, but it would hide in the output what a deploy really changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from configs.errors import ConfigError


@dataclass(frozen=True)
class Wanted:
    """A deployment as it shall be: its entry in the form of prefect.yaml, its flow's name, and the JSON Schema of its form.

    Schedules with the slugs `own_schedules` are removed where the entry does not have them; any other is left alone.
    """

    entry: Mapping[str, Any]
    flow: str
    form: dict[str, Any]
    own_schedules: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`flow/name`."""
        return f"{self.flow}/{self.entry['name']}"

    @property
    def limit(self) -> Mapping[str, Any]:
        """`limit` and `collision_strategy`, as far as there are."""
        limit = self.entry.get("concurrency_limit")
        return limit if isinstance(limit, dict) else {"limit": limit}

    @property
    def pull_steps(self) -> list[dict[str, Any]]:
        """Flows are loaded from the folder that this is deployed from."""
        return [{"prefect.deployments.steps.set_working_directory": {"directory": str(Path.cwd())}}]


def wanted_by(entry: Mapping[str, Any]) -> Wanted:
    """What an entry of prefect.yaml asks for.

    Entrypoints are relative to the working directory, as they are for `prefect deploy`. Raises ConfigError when
    the flow cannot be loaded.
    """
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    except Exception as error:
        raise ConfigError(
            f"{entry['entrypoint']}: cannot be loaded ({error}); correct the flow or its entry"
        ) from error
    return Wanted(entry, flow.name, parameter_schema(flow).model_dump(mode="json", exclude_unset=True))


def differences(client: SyncPrefectClient, wanted: Wanted) -> list[str] | None:
    """The fields that differ, or None when the server does not have it."""
    try:
        deployment = client.read_deployment_by_name(wanted.name)
    except ObjectNotFound:
        return None
    wanted_fields, server_fields = _wanted_fields(wanted), _server_fields(deployment)
    return [label for label, value in wanted_fields.items() if server_fields.get(label) != value]


def _wanted_fields(wanted: Wanted) -> dict[str, Any]:
    entry, pool = wanted.entry, wanted.entry["work_pool"]
    return {
        "entrypoint": entry["entrypoint"],
        "description": entry["description"],
        "tags": sorted(entry["tags"]),
        "parameters": entry.get("parameters", {}),
        "form": wanted.form,
        "enforced form": entry.get("enforce_parameter_schema", True),
        "work pool": pool["name"],
        "job variables": pool.get("job_variables", {}),
        "concurrency limit": wanted.limit.get("limit"),
        "collision strategy": wanted.limit.get("collision_strategy"),
        "folder": wanted.pull_steps,
        **{f"schedule {slug}": None for slug in wanted.own_schedules},
        **{f"schedule {schedule['slug']}": _schedule(schedule) for schedule in entry.get("schedules", [])},
    }


def _server_fields(deployment: DeploymentResponse) -> dict[str, Any]:
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    return {
        "entrypoint": deployment.entrypoint,
        "description": deployment.description,
        "tags": sorted(deployment.tags),
        "parameters": deployment.parameters,
        "form": deployment.parameter_openapi_schema,
        "enforced form": deployment.enforce_parameter_schema,
        "work pool": deployment.work_pool_name,
        "job variables": deployment.job_variables,
        "concurrency limit": limit and limit.limit,
        # Prefect keeps the strategy of a limit that is gone.
        "collision strategy": options.collision_strategy.value if limit and options else None,
        "folder": deployment.pull_steps,
        # A schedule that somebody added in the UI has no entry in the file, and is left alone.
        **{
            f"schedule {schedule.slug}": _schedule(
                {
                    **schedule.schedule.model_dump(mode="json"),
                    "active": schedule.active,
                    "parameters": schedule.parameters,
                }
            )
            for schedule in deployment.schedules
        },
    }


def _schedule(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a schedule that prefect.yaml can set."""
    return {
        "cron": schedule.get("cron"),
        "interval": schedule.get("interval"),
        "timezone": schedule.get("timezone"),
        "active": schedule["active"],
        "parameters": schedule.get("parameters", {}),
    }
