"""Stop paying for a run: what an automation or a person calls with a flow run's id, or with job/key."""

import os

from prefect import flow

from configs.clock import SystemClock
from tasks.cancel import cancel_run
from tasks.orchestration.blocks import load_home
from tasks.orchestration.reporters import current_reporter
from tasks.orchestration.run_states import one_line_failures


@flow(name="cancel", flow_run_name="cancel {run}", persist_result=False, retries=0)
@one_line_failures
def cancel(run: str) -> list[str]:
    """Cancel a run's open batches.

    Args:
        run: Id of the run or of the flow run that began it, or `job/key`.
    """
    reporter = current_reporter("cancel")
    lines = cancel_run(load_home(os.environ), os.environ, SystemClock(), run, reporter)
    for line in lines:
        reporter.note(line)
    return lines
