"""Artifacts that stay one through naps, crashes and new processes: found again by key, then updated in place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.logging import get_run_logger

from tasks.orchestration.current_run import FlowRunFacts, current_flow_run

Kind = Literal["progress", "table", "markdown"]


def keep_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """A table, one mapping a row. Nothing happens outside a flow run."""
    keep("table", key, json.dumps(list(rows), default=str), description)


def keep_markdown(key: str, text: str, description: str) -> None:
    """A page. Nothing happens outside a flow run."""
    keep("markdown", key, text, description)


def keep(kind: Kind, key: str, data: Any, description: str) -> None:
    """Make the flow run's artifact of that key, or bring it up to date.

    Artifacts are a view: a server that does not take one is a warning, and the work goes on.
    """
    here = current_flow_run()
    if here is None:
        return
    try:
        with get_client(sync_client=True) as client:
            found = _find(client, here, slug(key))
            if found is None:
                made = ArtifactCreate(
                    type=kind, key=slug(key), description=description, data=data, flow_run_id=UUID(here.id)
                )
                client.create_artifact(made)
            else:
                client.update_artifact(found, ArtifactUpdate(data=data, description=description))
    except httpx.HTTPError as error:
        get_run_logger().warning("artifact %s is not up to date: %s", key, type(error).__name__)


def slug(name: str) -> str:
    """A name as artifact keys want it: lower case letters, digits and dashes."""
    return name.lower().replace("_", "-")


def _find(client: SyncPrefectClient, here: FlowRunFacts, key: str) -> UUID | None:
    wanted = ArtifactFilter(
        key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(here.id)])
    )
    found = client.read_artifacts(artifact_filter=wanted, limit=1)
    return found[0].id if found else None
