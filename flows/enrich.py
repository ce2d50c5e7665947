"""One job, one run: prepare ▸ submit ▸ poll, sleep ▸ collect ▸ merge ▸ publish."""

import datetime
import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from configs.clock import SystemClock
from configs.home import Home
from tasks.advance import advance, why
from tasks.prepare import plan, prepare
from tasks.publish import publish
from tasks.report import current_reporter, publish_receipt
from tasks.runs import open_run, place_order
from tasks.sleep import sleep_until


def _run_name() -> str:
    given = flow_run.parameters
    return f"{Path(given['job']).stem} {given.get('key') or given.get('date') or 'yesterday'}"


@flow(name="enrich", flow_run_name=_run_name, persist_result=False, retries=0)
def enrich(
    job: str,
    date: datetime.date | None = None,
    key: str | None = None,
    limit: int | None = None,
    overrides: list[str] | None = None,
    redo: bool = False,
    snapshot: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Enrich one dataset.

    The same job and key is the same run: what was done is not done again. Returns the receipt, or the plan
    when `dry_run`.

    Args:
        job: Path of the job file.
        date: Logical date; yesterday in the job's time zone by default.
        key: Name of the run, instead of the date.
        limit: At most this many rows.
        overrides: Job keys to set, such as `prompt.model=gpt-5.4-mini`.
        redo: Replace a finished run's output by a new one.
        snapshot: Go on with the rows as they were read, though the source has changed since.
        dry_run: Say what would be done; write and post nothing.
    """
    clock, home, reporter = SystemClock(), Home.from_environment(os.environ), current_reporter()
    order = place_order(
        job,
        home,
        clock,
        day=date,
        key=key,
        limit=limit,
        overrides=overrides or (),
        redo=redo,
        snapshot=snapshot,
        origin=_flow_run_id(),
    )
    if dry_run:
        return plan(order, reporter)
    with open_run(order, home, os.environ, clock) as run:
        if run.record.receipt is None:
            prepare(run, reporter)
            while wake := advance(run, reporter):
                sleep_until(wake, why(run), clock)
            publish(run)
        receipt = run.receipt() or {}
    publish_receipt(receipt)
    return receipt


def _flow_run_id() -> str | None:
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None
