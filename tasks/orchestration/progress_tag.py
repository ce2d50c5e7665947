"""The tag of a flow run that says how far its run is, for example `52 % done`."""

from __future__ import annotations

from uuid import UUID

import httpx

from tasks.orchestration.current_run import FlowRunInfo

_DONE = " % done"


def set_progress_tag(flow_run: FlowRunInfo, percent: int | None) -> None:
    """Give the flow run this tag instead of an earlier one of its kind; None takes it away. Other tags stay.

    Tags only display state: if the server does not accept them, that is a warning, and the run continues.
    """
    from prefect.client.orchestration import get_client
    from prefect.logging import get_run_logger

    try:
        with get_client(sync_client=True) as client:
            tags = client.read_flow_run(UUID(flow_run.id)).tags
            wanted = [tag for tag in tags if not tag.endswith(_DONE)]
            wanted += [] if percent is None else [f"{percent}{_DONE}"]
            if set(wanted) != set(tags):
                client.update_flow_run(UUID(flow_run.id), tags=wanted)
    except httpx.HTTPError as error:
        get_run_logger().warning("the tag %s is not up to date: %s", _DONE.strip(), type(error).__name__)
