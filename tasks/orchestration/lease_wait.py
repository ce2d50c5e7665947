"""Wait, or stop, when another process holds the lease of the run that a flow run works on, or wants to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import UUID

import httpx

from configs.clock import Clock
from configs.errors import LeaseLost, RunBusy
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.sleep import end_if_overtaken, sleep_until

_WAIT_MARGIN = timedelta(seconds=5)  # wakes when the lease has surely lapsed


@contextmanager
def wait_while_lease_is_held(clock: Clock) -> Iterator[None]:
    """Turn a RunBusy error in the block into a durable sleep, if an earlier process of this same flow run holds the lease.

    That happens after a crash: Prefect starts the flow run again before the lease of the dead process has lapsed.
    A lease that another flow run holds is left to it: the RunBusy error then names that flow run. A process that lost
    the lease to a later one of its own flow run ends without a word: the flow run's state is that one's to say.
    """
    try:
        yield
    except LeaseLost:
        end_if_overtaken()
        raise
    except RunBusy as busy:
        flow_run = current_flow_run()
        if flow_run is None or not flow_run.deployed:
            raise
        if busy.until is not None and busy.origin == flow_run.id:
            sleep_until(
                busy.until + _WAIT_MARGIN, f"an earlier process of this run still holds it: {busy}", clock
            )
        if busy.origin not in (None, flow_run.id):
            raise RunBusy(
                f"{_describe_flow_run(busy.origin or '')} is working on this run and goes on with it; nothing is left to do here"
            ) from busy
        raise


def _describe_flow_run(origin: str) -> str:
    """A flow run for a message: its name, id and state."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with suppress(httpx.HTTPError, ObjectNotFound, ValueError), get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(origin))
        return f"flow run {run.name} ({origin}, {run.state_name})"
    return f"flow run {origin}"
