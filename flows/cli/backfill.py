"""The command `backfill`: run a job for every date of a range."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from configs.clock import SystemClock
from configs.errors import NightmailError
from configs.progress import Progress, Reporter
from configs.request import DateRange, RunRequest
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, AsJson, app, options_of
from flows.cli.run import enrich_here

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
        dates_bar = _DatesProgressBar(bar)
        with runs_in_threads(_make_runner(dates_bar), dates_bar.overview) as runs:
            plan = run_dates(plan, runs, home, SystemClock())
    rows = outcome_as_rows(plan, runs.started(), home)
    terminal.show_rows(rows, as_json=as_json)
    raise_for_failures(rows)
    return ALL_ANSWERED


def _make_runner(dates_bar: _DatesProgressBar) -> Callable[[RunRequest], None]:
    """A function that runs one date."""
    from tasks.orchestration.reporters import reporting_to

    run_enrich = enrich_here()

    def run(request: RunRequest) -> None:
        terminal.say(f"{request.date} ...")
        try:
            with reporting_to(dates_bar.reporter_for(request.date)):
                run_enrich(request)
        except NightmailError as error:
            terminal.say(f"nightmail: {error}", logging.ERROR)
            raise
        finally:
            dates_bar.remove(request.date)

    return run


class _DatesProgressBar:
    """A progress bar over all dates, with the progress of each running date as its detail."""

    def __init__(self, bar: Reporter) -> None:
        self._bar = bar
        self._lock = threading.Lock()  # each run reports from its own thread
        self._latest_by_date: dict[date | None, str] = {}
        self._overall = Progress("dates", 0, None, "dates")

    def overview(self, progress: BackfillProgress) -> None:
        with self._lock:
            self._overall = Progress("dates", progress.done, progress.total, "dates")
            self._show()

    def reporter_for(self, day: date | None) -> Reporter:
        """The reporter for the run of a date."""
        return _DateReporter(self, day)

    def update(self, day: date | None, progress: Progress) -> None:
        with self._lock:
            self._latest_by_date[day] = f"{day} {progress.phase} {progress.done:,}" + (
                f"/{progress.total:,}" if progress.total else ""
            )
            self._show()

    def note(self, text: str) -> None:
        with self._lock:
            self._bar.note(text)

    def remove(self, day: date | None) -> None:
        with self._lock:
            self._latest_by_date.pop(day, None)

    def _show(self) -> None:
        self._bar.progress(replace(self._overall, detail=", ".join(self._latest_by_date.values())))


class _DateReporter:
    """Reports one date's progress to the common bar."""

    def __init__(self, dates: _DatesProgressBar, day: date | None) -> None:
        self._dates, self._day = dates, day

    def progress(self, progress: Progress) -> None:
        self._dates.update(self._day, progress)

    def note(self, text: str) -> None:
        self._dates.note(f"{self._day}: {text}")
