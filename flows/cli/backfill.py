"""`nightmail backfill`: a job for every date of a range."""

from __future__ import annotations

import datetime
import os
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from configs.clock import SystemClock
from configs.errors import NightmailError
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, AsJson, JobFile, Limit, Sets, app, prefect_server
from tasks.backfill.dates import BackfillOrder


@app.command
def backfill(
    job: JobFile,
    *,
    start: Annotated[datetime.date, Parameter(help="First date.")],
    end: Annotated[datetime.date, Parameter(help="Last date.")],
    order: Annotated[BackfillOrder, Parameter(help="Which dates come first.")] = "oldest first",
    limit: Limit = None,
    overrides: Sets = (),
    redo: Annotated[
        bool, Parameter(help="Do finished dates again and replace their output.", negative=())
    ] = False,
    dry_run: Annotated[bool, Parameter(help="Show the plan alone.", negative=())] = False,
    as_json: AsJson = False,
) -> int:
    """Run a job for every date of a range, one after the other; finished dates are left alone."""
    from flows.enrich import enrich
    from tasks.backfill.dates import NightState
    from tasks.backfill.plan import as_rows, outcome
    from tasks.backfill.run import Backfill, raise_for_failures
    from tasks.orchestration.blocks import open_home
    from tasks.orchestration.reporters import reporting_to

    where = open_home(os.environ)
    asked = Backfill(job, start, end, order, redo=redo, shortcuts={"limit": limit}, overrides=overrides)
    nights = asked.nights(where, SystemClock())
    if dry_run or not as_json:
        terminal.show_rows(as_rows(nights), as_json=as_json)
    if dry_run:
        return ALL_ANSWERED
    failures = {night.day: night.problem for night in nights if night.state is NightState.NO_SOURCE}
    call: Any = enrich if prefect_server() else enrich.fn
    for day in asked.days(nights):
        sys.stderr.write(f"{day} ...\n")
        try:
            with terminal.progress_bar() as reporter, reporting_to(reporter):
                call(job, date=day, limit=limit, redo=redo, overrides=list(overrides))
        except NightmailError as error:  # the other dates are none the worse for it
            failures[day] = str(error)
            sys.stderr.write(f"nightmail: {error}\n")
    rows = [
        {**outcome(asked.name, night.day, where), "failure": failures.get(night.day, "")} for night in nights
    ]
    terminal.show_rows(rows, as_json=as_json)
    raise_for_failures(rows)
    return ALL_ANSWERED
