"""`nightmail backfill`: a job for every date of a range."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from configs.clock import SystemClock
from configs.errors import NightmailError
from configs.progress import Progress, Reporter
from configs.request import DateRange, RunRequest
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, AsJson, app, options_of, prefect_server

if TYPE_CHECKING:
    from tasks.backfill.date_runs import BackfillProgress


@app.command
@options_of(DateRange, RunRequest, without=("date", "key"))
def backfill(dates: DateRange, request: RunRequest, *, as_json: AsJson = False) -> int:
    """Run a job for every date of a range, in this process; finished dates are left alone."""
    from tasks.backfill.in_threads import runs_in_threads
    from tasks.backfill.plan import outcome_as_rows, plan_as_rows, plan_backfill
    from tasks.backfill.run import raise_for_failures, run_dates
    from tasks.orchestration.blocks import load_home

    home = load_home(os.environ)
    plan = plan_backfill(request, dates, home)
    if request.dry_run or not as_json:
        terminal.show_rows(plan_as_rows(plan), as_json=as_json)
    if request.dry_run:
        return ALL_ANSWERED
    with terminal.progress_bar() as bar:
        shown = _DatesBar(bar)
        with runs_in_threads(_runner(shown), shown.overview) as runs:
            plan = run_dates(plan, runs, home, SystemClock())
    rows = outcome_as_rows(plan, runs.started(), home)
    terminal.show_rows(rows, as_json=as_json)
    raise_for_failures(rows)
    return ALL_ANSWERED


def _runner(shown: _DatesBar) -> Callable[[RunRequest], None]:
    """What runs a date: the `enrich` flow, or its plain function where there is no Prefect server."""
    from flows.enrich import enrich
    from tasks.orchestration.reporters import reporting_to

    call: Any = enrich if prefect_server() else enrich.fn

    def run(request: RunRequest) -> None:
        sys.stderr.write(f"{request.date} ...\n")
        try:
            with reporting_to(shown.of(request.date)):
                call(**request.parameters)
        except NightmailError as error:
            sys.stderr.write(f"nightmail: {error}\n")
            raise
        finally:
            shown.forget(request.date)

    return run


class _DatesBar:
    """One bar for all dates: how many are done, and where those are that run now."""

    def __init__(self, bar: Reporter) -> None:
        self._bar = bar
        self._lock = threading.Lock()  # runs report from threads of their own
        self._latest: dict[date | None, str] = {}
        self._now = Progress("dates", 0, None, "dates")

    def overview(self, so_far: BackfillProgress) -> None:
        with self._lock:
            self._now = Progress("dates", so_far.done, so_far.total, "dates")
            self._show()

    def of(self, day: date | None) -> Reporter:
        """What the run of a date reports to."""
        return _DateReporter(self, day)

    def update(self, day: date | None, now: Progress) -> None:
        with self._lock:
            self._latest[day] = f"{day} {now.phase} {now.done:,}" + (f"/{now.total:,}" if now.total else "")
            self._show()

    def note(self, text: str) -> None:
        with self._lock:
            self._bar.note(text)

    def forget(self, day: date | None) -> None:
        with self._lock:
            self._latest.pop(day, None)

    def _show(self) -> None:
        self._bar.progress(replace(self._now, detail=", ".join(self._latest.values())))


class _DateReporter:
    def __init__(self, dates: _DatesBar, day: date | None) -> None:
        self._dates, self._day = dates, day

    def progress(self, now: Progress) -> None:
        self._dates.update(self._day, now)

    def note(self, text: str) -> None:
        self._dates.note(f"{self._day}: {text}")
