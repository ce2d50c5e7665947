"""Compare a deployment in prefect.yaml with the server's: the fields that `prefect deploy` would write.

Deploying what has not changed would be harmless for runs, but it would hide in the output what a deploy really changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from configs.errors import ConfigError


def differences(client: SyncPrefectClient, entry: Mapping[str, Any]) -> tuple[str, list[str] | None]:
    """(`flow/name`, the fields that differ), or None for the fields when the server does not have it.

    Entrypoints are relative to the working directory, as they are for `prefect deploy`. Raises ConfigError when
    the flow cannot be loaded.
    """
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    except Exception as error:
        raise ConfigError(
            f"{entry['entrypoint']}: cannot be loaded ({error}); correct the flow or its entry"
        ) from error
    name = f"{flow.name}/{entry['name']}"
    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return name, None
    wanted_fields = _wanted_fields(entry, parameter_schema(flow).model_dump(mode="json", exclude_unset=True))
    server_fields = _server_fields(deployment)
    return name, [label for label, value in wanted_fields.items() if server_fields.get(label) != value]


def _wanted_fields(entry: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    limit = entry.get("concurrency_limit")
    limit = limit if isinstance(limit, dict) else {"limit": limit}
    pool = entry["work_pool"]
    pull_step = {"prefect.deployments.steps.set_working_directory": {"directory": str(Path.cwd())}}
    return {
        "entrypoint": entry["entrypoint"],
        "description": entry["description"],
        "tags": sorted(entry["tags"]),
        "parameters": entry.get("parameters", {}),
        "form": schema,
        "enforced form": entry.get("enforce_parameter_schema", True),
        "work pool": pool["name"],
        "job variables": pool.get("job_variables", {}),
        "concurrency limit": limit.get("limit"),
        "collision strategy": limit.get("collision_strategy"),
        "folder": [pull_step],
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
