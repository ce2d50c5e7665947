"""One `enrich` run per date of a range: plan ▸ start a few, sleep until they end ▸ tell."""

import datetime
import os
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from configs.clock import SystemClock
from configs.forms import JobFile, Number, ProviderName, Text
from tasks.backfill.dates import BackfillOrder
from tasks.backfill.run import Backfill, publish_backfill, publish_backfill_plan, tend
from tasks.orchestration.blocks import open_home
from tasks.orchestration.run_states import job_name, one_line_failures
from tasks.orchestration.sleep import sleep_until


def _name() -> str:
    given = flow_run.parameters
    return f"backfill {job_name(given['job'])} {given['start']} to {given['end']}"


@flow(name="backfill", flow_run_name=_name, persist_result=False, retries=0)
@one_line_failures
def backfill(
    job: JobFile,
    start: datetime.date,
    end: datetime.date,
    max_parallel: int = 2,
    order: BackfillOrder = "oldest first",
    only_missing: bool = True,
    redo: bool = False,
    provider: ProviderName = None,
    model: Text = "",
    limit: Number = 0,
) -> Any:
    """Enrich every date of a range, each in a run of its own.

    One date's failure does not stop the others. Started again, it goes on with what is missing.

    Args:
        job: The job file.
        start: First date.
        end: Last date.
        max_parallel: At most this many dates at a time.
        order: Which dates come first.
        only_missing: Leave finished dates alone.
        redo: Do finished dates again and replace their output.
        provider: Another batch service than the job's.
        model: Another model than the job's; empty for the job's own.
        limit: At most this many rows of each date; 0 for all of them.
    """
    clock, home = SystemClock(), open_home(os.environ)
    shortcuts = {"provider": provider, "model": model, "limit": limit}
    asked = Backfill(job, start, end, order, only_missing, redo, shortcuts)
    publish_backfill_plan(asked, home, clock)
    while later := tend(asked, max(1, max_parallel), home, clock):
        sleep_until(*later, clock)
    return publish_backfill(asked, home, clock)
