"""The flow `enrich`: run one job. Prepare, then submit, poll, sleep, collect and merge until all is done, then publish."""

from typing import Any

from prefect import flow

from configs.options import parameters_from
from configs.request import RunRequest
from tasks.enrich import enrich_rows
from tasks.orchestration.run_states import enrich_run_name, one_line_failures


@flow(name="enrich", flow_run_name=enrich_run_name, persist_result=False, retries=0)
@one_line_failures
@parameters_from(RunRequest)
def enrich(request: RunRequest) -> Any:
    """Enrich one dataset.

    The same job and key is the same run: what is done is not done again. Returns the receipt, or the plan with
    `dry_run`.
    """
    return enrich_rows(request)
