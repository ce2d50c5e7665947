"""Create or update the Prefect artifacts of the current flow run.

`prefect.artifacts.create_*_artifact` makes a new version at every call, and a run that sleeps continues in a new process
that knows no artifact ids. So an artifact is looked up by its key and flow run first, then updated in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import httpx

from tasks.orchestration.current_run import FlowRunInfo, current_flow_run

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

Kind = Literal["progress", "table", "markdown"]


def save_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Create or update a table artifact, one mapping per row. Does nothing outside a flow run."""
    save_artifact("table", key, json.dumps(list(rows), default=str), description)


def save_markdown(key: str, text: str, description: str) -> None:
    """Create or update a Markdown artifact. Does nothing outside a flow run."""
    save_artifact("markdown", key, text, description)


def save_artifact(kind: Kind, key: str, data: Any, description: str) -> None:
    """Create the flow run's artifact with this key, or update it.

    Artifacts only display state: if the server does not accept one, that is a warning, and the run continues.
    """
    flow_run = current_flow_run()
    if flow_run is None:
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
    from prefect.logging import get_run_logger

    try:
        with get_client(sync_client=True) as client:
            existing_id = _find_artifact(client, flow_run, slug(key))
            if existing_id is None:
                new_artifact = ArtifactCreate(
                    type=kind,
                    key=slug(key),
                    description=description,
                    data=data,
                    flow_run_id=UUID(flow_run.id),
                )
                client.create_artifact(new_artifact)
            else:
                client.update_artifact(existing_id, ArtifactUpdate(data=data, description=description))
    except httpx.HTTPError as error:
        get_run_logger().warning("artifact %s is not up to date: %s", key, type(error).__name__)


def slug(name: str) -> str:
    """A valid artifact key made from a name: Prefect allows lower case letters, digits and dashes."""
    return name.lower().replace("_", "-")


def _find_artifact(client: SyncPrefectClient, flow_run: FlowRunInfo, key: str) -> UUID | None:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    by_key = ArtifactFilter(
        key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run.id)])
    )
    artifacts = client.read_artifacts(artifact_filter=by_key, limit=1)
    return artifacts[0].id if artifacts else None
