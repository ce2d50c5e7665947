"""What of a deployment differs between prefect.yaml and the server: the fields that `prefect deploy` would write."""

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
            f"{entry['entrypoint']}: cannot be loaded ({error}); mend it or its entry"
        ) from error
    name = f"{flow.name}/{entry['name']}"
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return name, None
    wanted = _wanted(entry, parameter_schema(flow).model_dump(mode="json", exclude_unset=True))
    present = _present(found)
    return name, [label for label, value in wanted.items() if present.get(label) != value]


def _wanted(entry: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    limit = entry.get("concurrency_limit")
    limit = limit if isinstance(limit, dict) else {"limit": limit}
    pool = entry["work_pool"]
    here = {"prefect.deployments.steps.set_working_directory": {"directory": str(Path.cwd())}}
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
        "folder": [here],
        **{f"schedule {given['slug']}": _schedule(given) for given in entry.get("schedules", [])},
    }


def _present(found: DeploymentResponse) -> dict[str, Any]:
    limit, options = found.global_concurrency_limit, found.concurrency_options
    return {
        "entrypoint": found.entrypoint,
        "description": found.description,
        "tags": sorted(found.tags),
        "parameters": found.parameters,
        "form": found.parameter_openapi_schema,
        "enforced form": found.enforce_parameter_schema,
        "work pool": found.work_pool_name,
        "job variables": found.job_variables,
        "concurrency limit": limit and limit.limit,
        # Prefect keeps the strategy of a limit that is gone.
        "collision strategy": options.collision_strategy.value if limit and options else None,
        "folder": found.pull_steps,
        # A schedule that somebody added in the UI has no entry in the file, and is left alone.
        **{
            f"schedule {one.slug}": _schedule(
                {**one.schedule.model_dump(mode="json"), "active": one.active, "parameters": one.parameters}
            )
            for one in found.schedules
        },
    }


def _schedule(given: Mapping[str, Any]) -> dict[str, Any]:
    """When, in which time zone, whether at all, and with what."""
    return {
        "cron": given.get("cron"),
        "interval": given.get("interval"),
        "timezone": given.get("timezone"),
        "active": given["active"],
        "parameters": given.get("parameters", {}),
    }
