"""The flow `sweep`, scheduled every ten minutes: revive stuck runs, cancel batches of cancelled runs, delete old files.

It catches what automations missed: events are lost while the Prefect server is down.
"""

import os

from prefect import flow
from prefect.client.orchestration import get_client

from configs.clock import SystemClock
from tasks.maintenance.sweep import sweep_up
from tasks.orchestration.blocks import load_home
from tasks.orchestration.reporters import current_reporter, publish_lines
from tasks.orchestration.run_states import one_line_failures
from tasks.orchestration.server_runs import OnServer


@flow(name="sweep", flow_run_name="sweep", persist_result=False, retries=0)
@one_line_failures
def sweep() -> list[str]:
    """Revive runs that lost their process, and delete files at the providers. Returns what was done, a line each."""
    reporter = current_reporter("sweep")
    with get_client(sync_client=True) as client:
        result = sweep_up(load_home(os.environ), os.environ, SystemClock(), OnServer(client))
    for line in (*result.done, *result.noted):
        reporter.note(line)
    publish_lines("sweep", result.done, "What the sweep did")
    return result.done
