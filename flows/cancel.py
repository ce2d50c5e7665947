"""The flow `cancel`: cancel a run's batches. An automation calls it when a flow run is cancelled; people can, too.

A flow of its own, since hooks such as `on_cancellation` do not run for a flow run that sleeps: it has no process.
"""

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
