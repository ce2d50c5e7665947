"""The flow `approve`: let a run post that waits for a person because of its price. Started from its form in the Prefect UI."""

import os

from prefect import flow
from prefect.client.orchestration import get_client

from configs.clock import SystemClock
from tasks.approve import approve_run
from tasks.orchestration.blocks import load_home
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.reporters import current_reporter
from tasks.orchestration.run_states import one_line_failures
from tasks.orchestration.server_runs import OnServer


@flow(name="approve", flow_run_name="approve {run}", persist_result=False, retries=0)
@one_line_failures
def approve(run: str) -> str:
    """Let a run post that waits for approval (`budget.approve_above_usd`).

    Args:
        run: Id of the run or of the flow run that began it, or `job/key`.
    """
    flow_run = current_flow_run()
    by = f"Prefect flow run {flow_run.id}" if flow_run else "Prefect"
    with get_client(sync_client=True) as client:
        line = approve_run(load_home(os.environ), SystemClock(), run, by, OnServer(client))
    current_reporter("approve").note(line)
    return line
