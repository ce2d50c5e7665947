"""The loop of a backfill, over runs that are only told of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pytest

from configs.errors import ConfigError, NightmailError
from configs.request import DateRange, RunRequest
from rigs.workspace import Workspace
from tasks.backfill.date_runs import BackfillProgress
from tasks.backfill.plan import outcome_as_rows, plan_backfill
from tasks.backfill.run import raise_for_failures, run_dates

D1, D2, D3 = (date(2026, 11, day) for day in (1, 2, 3))


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Run:
    ended: bool
    failure: str = ""
    created_at: datetime | None = None
    link: None = None


@dataclass
class ToldRuns:
    """Ends the oldest run at every wait; `busy` dates are somebody else's until the first wait."""

    failing: Mapping[date, str] = field(default_factory=dict)
    busy: set[date] = field(default_factory=set)
    asked: list[RunRequest] = field(default_factory=list)
    most_at_once: int = 0
    waits: list[str] = field(default_factory=list)
    runs: dict[date, Run] = field(default_factory=dict)

    def started(self) -> Mapping[date, Run]:
        return self.runs

    def running_elsewhere(self, days: Collection[date]) -> Collection[date]:
        return self.busy & set(days)

    def start(self, request: RunRequest) -> Run:
        assert request.date
        self.asked.append(request)
        self.runs[request.date] = Run(ended=False)
        self.most_at_once = max(self.most_at_once, sum(not run.ended for run in self.runs.values()))
        return self.runs[request.date]

    def wait(self, seconds: float, progress: BackfillProgress) -> None:
        self.waits.append(str(progress))
        self.busy = set()
        for day, run in self.runs.items():
            if not run.ended:
                self.runs[day] = Run(ended=True, failure=self.failing.get(day, ""))
                return


@pytest.fixture
def job(workspace: Workspace) -> Workspace:
    workspace.change("output.path", "out/{date}")
    return workspace


def go(workspace: Workspace, runs: ToldRuns, dates: Mapping[str, Any] | None = None, **options: Any) -> Any:
    asked = DateRange(start=D1, end=D3, **(dates or {}))
    plan = plan_backfill(RunRequest(workspace.write(), **options), asked, workspace.home)
    return run_dates(plan, runs, workspace.home, StoppedClock())


def test_every_date_is_run_with_what_was_asked_for_a_few_at_a_time(job: Workspace) -> None:
    runs = ToldRuns()
    options = {"provider": "local", "model": "m2", "limit": 3, "retry": True, "snapshot": True}
    go(job, runs, overrides=("prompt.params.seed=1",), **options)
    assert [request.date for request in runs.asked] == [D1, D2, D3]
    assert {request.parameters["overrides"] for request in runs.asked} == {("prompt.params.seed=1",)}
    for request in runs.asked:
        assert options.items() <= request.parameters.items()
    assert runs.most_at_once == 2
    assert runs.waits[0] == "0/3 dates done, 2 running, 1 others"


def test_one_at_a_time_where_all_dates_have_one_output(workspace: Workspace) -> None:
    runs = ToldRuns()
    go(workspace, runs, {"max_parallel": 3})
    assert runs.most_at_once == 1


def test_a_date_that_fails_stops_no_other_and_is_named_at_the_end(job: Workspace) -> None:
    runs = ToldRuns(failing={D2: "its source is broken"})
    plan = go(job, runs, {"order": "newest first", "max_parallel": 1})
    assert [request.date for request in runs.asked] == [D3, D2, D1]
    rows = outcome_as_rows(plan, runs.started(), job.home)
    assert [(row["date"], row["state"]) for row in rows][1] == ("2026-11-02", "failed")
    with pytest.raises(
        NightmailError, match="1 of 3 dates failed: 2026-11-02; 2026-11-02: its source is broken"
    ):
        raise_for_failures(rows)


def test_runs_that_a_former_process_started_are_not_started_again(job: Workspace) -> None:
    runs = ToldRuns(runs={D1: Run(ended=True), D2: Run(ended=False)})
    go(job, runs)
    assert [request.date for request in runs.asked] == [D3]


def test_a_date_that_somebody_else_is_at_is_waited_for_and_run_if_it_is_not_done_then(job: Workspace) -> None:
    runs = ToldRuns(busy={D1})
    go(job, runs)
    assert [request.date for request in runs.asked] == [D2, D3, D1]


def test_a_date_that_somebody_else_has_done_meanwhile_is_not_run(job: Workspace) -> None:
    class Elsewhere(ToldRuns):
        def wait(self, seconds: float, progress: BackfillProgress) -> None:
            if self.busy:
                job.run(date=D1, key="")
            super().wait(seconds, progress)

    runs = Elsewhere(busy={D1})
    go(job, runs)
    assert [request.date for request in runs.asked] == [D2, D3]


def test_what_no_date_can_have_is_refused_before_any_is_run(job: Workspace) -> None:
    with pytest.raises(ConfigError, match="give one of the two"):
        go(job, ToldRuns(), redo=True, retry=True)
