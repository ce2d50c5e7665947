"""Create flow runs of the deployments, which the server's workers execute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.utilities.urls import url_for

from configs.errors import ConfigError

ENRICH: Final = "enrich/ad-hoc"
CANCEL: Final = "cancel/cancel"


def create_from_deployment(
    client: SyncPrefectClient,
    deployment: str,
    title: str,
    parameters: Mapping[str, Any],
    *,
    tags: Sequence[str] = (),
    idempotency_key: str | None = None,
) -> FlowRun:
    """A new flow run of that name; ConfigError when the deployment is missing or refuses the parameters."""
    try:
        found = client.read_deployment_by_name(deployment)
        return client.create_flow_run_from_deployment(
            found.id,
            name=title,
            parameters=dict(parameters),
            tags=list(tags),
            idempotency_key=idempotency_key,
        )
    except ObjectNotFound as error:
        raise ConfigError(f"{deployment}: is not deployed; run `nightmail deploy`") from error
    except PrefectHTTPStatusError as error:
        if error.response.status_code < 500:
            detail = error.response.json().get("detail", error.response.text)
            raise ConfigError(f"{deployment} refuses {title}: {detail}") from error
        raise


def start(deployment: str, title: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Create a flow run on the configured server; its name, and its URL in the Prefect UI (empty where that is unknown)."""
    with get_client(sync_client=True) as client:
        run = create_from_deployment(client, deployment, title, parameters)
    return run.name, url_for("flow-run", obj_id=run.id) or ""
