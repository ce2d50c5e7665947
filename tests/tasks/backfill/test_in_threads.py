"""Runs of dates in threads of this process."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from datetime import date

import pytest

from configs.clock import SystemClock
from configs.errors import ConfigError
from configs.request import RunRequest
from tasks.backfill.date_runs import BackfillProgress
from tasks.backfill.in_threads import ThreadRuns, runs_in_threads

D1, D2 = date(2026, 11, 1), date(2026, 11, 2)
NOTHING_YET = BackfillProgress(0, 0, 2)


def asked(day: date) -> RunRequest:
    return RunRequest("job.yaml", date=day)


def until_over(runs: ThreadRuns) -> None:
    while not all(run.ended for run in runs.started().values()):
        runs.wait(30, NOTHING_YET)


def test_two_dates_run_at_the_same_time_in_the_context_they_were_started_in() -> None:
    setting: ContextVar[str] = ContextVar("setting", default="")
    setting.set("ours")
    together = threading.Barrier(2, timeout=120)
    seen: dict[date | None, str] = {}

    def run(request: RunRequest) -> None:
        together.wait()  # breaks unless both are here at once
        seen[request.date] = setting.get()

    with runs_in_threads(run, lambda _: None) as runs:
        for day in (D1, D2):
            assert not runs.start(asked(day)).ended
        until_over(runs)
    assert seen == {D1: "ours", D2: "ours"}
    assert not any(run.failure for run in runs.started().values())


def test_an_expected_error_is_the_failure_of_its_date_alone() -> None:
    def run(request: RunRequest) -> None:
        if request.date == D1:
            raise ConfigError("its source is gone")

    with runs_in_threads(run, lambda _: None) as runs:
        for day in (D1, D2):
            runs.start(asked(day))
        until_over(runs)
    assert {day: run.failure for day, run in runs.started().items()} == {D1: "its source is gone", D2: ""}


def test_an_unexpected_error_ends_the_backfill_and_the_sleeps_of_other_runs() -> None:
    asleep, let_go = threading.Event(), threading.Event()

    def run(request: RunRequest) -> None:
        if request.date == D1:
            asleep.wait(30)
            raise ValueError("a bug")
        try:
            asleep.set()
            SystemClock().sleep(3600)
        finally:
            let_go.set()  # as a run lets go of its lease

    with pytest.raises(ValueError, match="a bug"), runs_in_threads(run, lambda _: None) as runs:
        for day in (D1, D2):
            runs.start(asked(day))
        until_over(runs)
    assert let_go.is_set()


def test_what_is_shown_is_told_before_every_wait() -> None:
    shown: list[BackfillProgress] = []
    with runs_in_threads(lambda _: None, shown.append) as runs:
        runs.start(asked(D1))
        until_over(runs)
        runs.wait(0, BackfillProgress(1, 0, 2))
    assert shown[-1] == BackfillProgress(1, 0, 2)
