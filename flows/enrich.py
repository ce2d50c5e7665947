"""The flow `enrich`: run one job. Prepare, then submit, poll, sleep, collect and merge until all is done, then publish."""

import os
from typing import Any

from prefect import flow

from configs.clock import SystemClock
from configs.options import parameters_from
from configs.request import RunRequest
from tasks.advance import advance, describe_wait, waits_for_account
from tasks.orchestration.blocks import connect, load_home
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.events import emit_run_finished
from tasks.orchestration.lease_wait import wait_while_lease_is_held
from tasks.orchestration.reporters import current_reporter, publish_batches, publish_plan, publish_receipt
from tasks.orchestration.run_states import enrich_run_name, one_line_failures, skip_if_late
from tasks.orchestration.sleep import sleep_until
from tasks.prepare import plan, prepare
from tasks.publish import publish
from tasks.runs.request import resolve_request
from tasks.runs.resume import resume
from tasks.runs.session import open_run


@flow(name="enrich", flow_run_name=enrich_run_name, persist_result=False, retries=0)
@one_line_failures
@parameters_from(RunRequest)
def enrich(request: RunRequest) -> Any:
    """Enrich one dataset.

    The same job and key is the same run: what is done is not done again. Returns the receipt, or the plan with
    `dry_run`.
    """
    clock, home, flow_run = SystemClock(), load_home(os.environ), current_flow_run()
    resolved = resolve_request(
        request,
        home,
        clock,
        origin=flow_run.id if flow_run else None,
        expected_start=flow_run.expected_start if flow_run else None,
    )
    if skipped := skip_if_late(resolved, flow_run):
        return skipped
    reporter = current_reporter(resolved.job.name)
    if request.dry_run:
        dry_run_plan = plan(resolved, home, reporter)
        publish_plan(dry_run_plan)
        return dry_run_plan
    service = connect(resolved.job.provider, home, os.environ)
    with wait_while_lease_is_held(clock), open_run(resolved, service, home, clock) as run:
        resume(run, resolved)
        if run.record.receipt is None:
            prepare(run, reporter)
            while wake := advance(run, reporter):
                publish_batches(run)
                sleep_until(wake, describe_wait(run, wake), clock, waits_for_account(run))
            publish(run)
        publish_batches(run)
        receipt = run.receipt()
    publish_receipt(receipt)
    emit_run_finished(run.record, receipt, reporter)
    return receipt
