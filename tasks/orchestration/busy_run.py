"""What a flow run does while another process holds its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from configs.clock import Clock
from configs.errors import RunBusy
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.sleep import sleep_until

_MARGIN = timedelta(seconds=5)


@contextmanager
def our_turn(clock: Clock) -> Iterator[None]:
    """Sleep durably while an earlier process of this very flow run still holds the lease.

    A run that is another flow run's stays with it: RunBusy names that one.
    """
    try:
        yield
    except RunBusy as busy:
        here = current_flow_run()
        if here is None or not here.deployed:
            raise
        if busy.until is not None and busy.origin == here.id:
            sleep_until(busy.until + _MARGIN, f"an earlier process of this run still holds it: {busy}", clock)
        if busy.origin not in (None, here.id):
            raise RunBusy(
                f"{_name(busy.origin or '')} is working on this run and goes on with it; nothing is left to do here"
            ) from busy
        raise


def _name(origin: str) -> str:
    """The flow run for people: its name, its id and its state."""
    with suppress(httpx.HTTPError, ObjectNotFound, ValueError), get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(origin))
        return f"flow run {run.name} ({origin}, {run.state_name})"
    return f"flow run {origin}"
