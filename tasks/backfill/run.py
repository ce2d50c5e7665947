"""A range of dates, one `enrich` run each: planned from the ledger, started a few at a time, told at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from configs.clock import Clock
from configs.errors import NightmailError
from configs.forms import as_overrides, job_path
from configs.home import Home
from configs.load import load_job
from tasks.backfill.dates import (
    BackfillOrder,
    Night,
    NightState,
    chosen,
    dates,
    to_start,
    wait_seconds,
    youngest_seconds,
)
from tasks.backfill.plan import as_rows, outcome, survey
from tasks.orchestration.artifacts import keep_table
from tasks.orchestration.child_runs import children_of_current_run, link


@dataclass(frozen=True)
class Backfill:
    """What was asked for. `shortcuts` are provider, model and limit, as the form has them."""

    job: str
    start: date
    end: date
    order: BackfillOrder = "oldest first"
    only_missing: bool = True
    redo: bool = False
    shortcuts: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The job's name."""
        return load_job(job_path(self.job)).name

    def nights(self, home: Home, clock: Clock) -> list[Night]:
        """The plan as the ledger has it now."""
        items = as_overrides(
            self.shortcuts.get("provider"),
            self.shortcuts.get("model"),
            self.shortcuts.get("limit"),
            list(self.overrides),
        )
        return survey(job_path(self.job), dates(self.start, self.end, self.order), items, home, clock)

    def days(self, nights: Sequence[Night]) -> list[date]:
        """The dates to run; one whose source is missing has failed already."""
        startable = [night for night in nights if night.state is not NightState.NO_SOURCE]
        return chosen(startable, only_missing=self.only_missing, redo=self.redo)

    def parameters(self, day: date) -> dict[str, Any]:
        """Those of the date's `enrich` run."""
        given = {**self.shortcuts, "redo": self.redo, "overrides": list(self.overrides)}
        return {"job": self.job, "date": day.isoformat(), **{k: v for k, v in given.items() if v}}


def publish_backfill_plan(asked: Backfill, home: Home, clock: Clock) -> None:
    """Leave the plan as a table, as it was before anything was started."""
    with children_of_current_run() as children:
        if children.mine():
            return
    keep_table(f"backfill-plan-{asked.name}", as_rows(asked.nights(home, clock)), _title(asked, "Plan"))


def tend(asked: Backfill, most: int, home: Home, clock: Clock) -> tuple[datetime, str] | None:
    """Start what may start now; when to look again and why, or None when every date's run has ended."""
    nights = asked.nights(home, clock)
    days = asked.days(nights)
    name = asked.name
    with children_of_current_run() as children:
        mine = children.mine()
        others = children.others({f"{name} {day}": day for day in days if day not in mine})
        for day in to_start(days, mine, others, most):
            mine[day] = children.begin(f"{name} {day}", asked.parameters(day))
        alive = sum(not child.over for child in mine.values())
        if not alive and not others and all(day in mine for day in days):
            return None
        wait = wait_seconds(youngest_seconds(mine.values(), clock.now()))
    done = sum(night.state is NightState.DONE for night in nights)
    waiting = len(nights) - done - alive - len(others)
    said = f"{done}/{len(nights)} dates done, {alive + len(others)} running, {waiting} others"
    return clock.now() + timedelta(seconds=wait), said


def publish_backfill(asked: Backfill, home: Home, clock: Clock) -> list[dict[str, Any]]:
    """Leave what came of every date as a table, and return it. NightmailError names the dates that failed."""
    with children_of_current_run() as children:
        mine = children.mine()
    rows = []
    for night in asked.nights(home, clock):
        child = mine.get(night.day)
        failure = night.problem if night.state is NightState.NO_SOURCE else child.failure if child else ""
        came = outcome(asked.name, night.day, home)
        rows.append(
            {**came, "failure": failure, "run": link(child) if child else None}
            | ({"state": "failed"} if failure else {})
        )
    keep_table(f"backfill-{asked.name}", rows, _title(asked, "What came of"))
    raise_for_failures(rows)
    return rows


def raise_for_failures(rows: Sequence[dict[str, Any]]) -> None:
    """NightmailError when dates failed: how many, and the first with its reason."""
    failed = [row for row in rows if row["failure"]]
    if not failed:
        return
    names = ", ".join(row["date"] for row in failed)
    raise NightmailError(
        f"{len(failed)} of {len(rows)} dates failed: {names}; {failed[0]['date']}: {failed[0]['failure']};"
        " the same backfill again takes only what is missing"
    )


def _title(asked: Backfill, what: str) -> str:
    return f"{what} {asked.name} {asked.start} to {asked.end}"
