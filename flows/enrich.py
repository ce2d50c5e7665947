"""One job, one run: prepare ▸ submit ▸ poll, sleep ▸ collect ▸ merge ▸ publish."""

import datetime
import os
from typing import Any

from prefect import flow

from configs.clock import SystemClock
from configs.forms import JobFile, Number, ProviderName, Text, Texts, as_overrides, job_path
from tasks.advance import advance, describe_wait
from tasks.orchestration.blocks import connect, open_home
from tasks.orchestration.busy_run import our_turn
from tasks.orchestration.current_run import current_flow_run
from tasks.orchestration.events import emit_run_finished
from tasks.orchestration.reporters import current_reporter, publish_batches, publish_plan, publish_receipt
from tasks.orchestration.run_states import missed, one_line_failures, title
from tasks.orchestration.sleep import sleep_until
from tasks.prepare import plan, prepare
from tasks.publish import publish
from tasks.runs.request import place_order
from tasks.runs.resume import resume
from tasks.runs.session import open_run


@flow(name="enrich", flow_run_name=title, persist_result=False, retries=0)
@one_line_failures
def enrich(
    job: JobFile,
    date: datetime.date | None = None,
    provider: ProviderName = None,
    model: Text = "",
    limit: Number = 0,
    dry_run: bool = False,
    key: Text = "",
    redo: bool = False,
    retry: bool = False,
    snapshot: bool = False,
    overrides: Texts = (),
) -> Any:
    """Enrich one dataset.

    The same job and key is the same run: what was done is not done again. Returns the receipt, or the plan
    when `dry_run`.

    Args:
        job: The job file.
        date: Logical date; the day before the run was to start, in the job's time zone, by default.
        provider: Another batch service than the job's.
        model: Another model than the job's; empty for the job's own.
        limit: At most this many rows; 0 for all of them.
        dry_run: Say what would be done; write and post nothing.
        key: Name of the run; empty for the date.
        redo: Replace a finished run's output by a new one.
        retry: Ask the unanswered rows of a finished run again, where that can help; the others are kept.
        snapshot: Go on with the rows as they were read, though the source has changed since.
        overrides: Further job keys to set, such as `prompt.params.temperature=0`.
    """
    clock, home, here = SystemClock(), open_home(os.environ), current_flow_run()
    order = place_order(
        job_path(job),
        home,
        clock,
        day=date,
        key=key or None,
        overrides=as_overrides(provider, model, limit, overrides),
        redo=redo,
        retry=retry,
        snapshot=snapshot,
        origin=here.id if here else None,
        due=here.due if here else None,
    )
    if skipped := missed(order, here):
        return skipped
    reporter = current_reporter(order.job.name)
    if dry_run:
        planned = plan(order, reporter)
        publish_plan(planned)
        return planned
    service = connect(order.job.provider, home, os.environ)
    with our_turn(clock), open_run(order, service, home, clock) as run:
        resume(run, order)
        if run.record.receipt is None:
            prepare(run, reporter)
            while wake := advance(run, reporter):
                publish_batches(run)
                sleep_until(wake, describe_wait(run, wake), clock)
            publish(run)
        publish_batches(run)
        receipt = run.receipt()
    publish_receipt(receipt)
    emit_run_finished(run.record, receipt, reporter)
    return receipt
