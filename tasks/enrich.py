"""Run one job: prepare, then submit, poll, sleep, collect and merge until all is done, then publish."""

from __future__ import annotations

import os
from typing import Any

from configs.clock import SystemClock
from configs.request import RunRequest
from tasks.advance import advance, advance_while_preparing, describe_wait, state_for_a_person
from tasks.approve import heed_resume
from tasks.orchestration.blocks import connect, load_home
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.events import emit_run_finished
from tasks.orchestration.lease_wait import wait_while_lease_is_held
from tasks.orchestration.reporters import (
    current_reporter,
    note_on_terminal,
    pages_of,
    publish_batches,
    publish_plan,
    publish_receipt,
    tag_with_progress,
)
from tasks.orchestration.run_states import finished, skip_if_late
from tasks.orchestration.sleep import sleep_until
from tasks.prepare import plan, prepare
from tasks.publish import publish
from tasks.runs.opening import open_run
from tasks.runs.request import resolve_request
from tasks.runs.resume import resume


def enrich_rows(request: RunRequest) -> Any:
    """Enrich one dataset, as the flow `enrich` does inside a flow run and `nightmail run` without Prefect.

    Returns the receipt, the plan with `dry_run`, or the final state of a flow run that starts too late.
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
        heed_resume(run)
        if run.record.receipt is None:
            if line := prepare(run, reporter):
                note_on_terminal(line)
            advance_while_preparing(run, reporter)
            while wake := advance(run, reporter):
                publish_batches(run)
                tag_with_progress(run)
                run.close_engine()
                reason = "; ".join([describe_wait(run, wake), *pages_of(run, home.console_url)])
                sleep_until(wake, reason, clock, state_for_a_person(run), run.ledger.is_look_due)
            publish(run)
        publish_batches(run)
        tag_with_progress(run)
        receipt = run.receipt()
    publish_receipt(receipt)
    emit_run_finished(run.record, receipt, reporter)
    return finished(receipt)
