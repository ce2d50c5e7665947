"""A range of dates, and what there is to do for each: pure decisions of a backfill."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from configs.errors import ConfigError

if TYPE_CHECKING:  # pure: at run time it knows nothing of Prefect
    from tasks.orchestration.child_runs import Child

BackfillOrder = Literal["oldest first", "newest first"]
_TOO_MANY = 1000


class NightState(StrEnum):
    """What the ledger knows of a date."""

    DONE = "done"
    UNFINISHED = "unfinished"
    TO_BUY = "would be bought"
    NO_SOURCE = "no source"


@dataclass(frozen=True)
class Night:
    """One date of a backfill. `rows` is None where only reading the source would tell."""

    day: date
    state: NightState
    rows: int | None = None
    batches: int = 0
    problem: str = ""


def dates(start: date, end: date, order: BackfillOrder) -> list[date]:
    """Every date from `start` to `end`, both included. ConfigError when there is none, or absurdly many."""
    count = (end - start).days + 1
    if not 0 < count <= _TOO_MANY:
        raise ConfigError(
            f"--start {start} --end {end}: give 1 to {_TOO_MANY} dates, the earlier one as start"
        )
    days = [start + timedelta(days=number) for number in range(count)]
    return days if order == "oldest first" else days[::-1]


def chosen(nights: Sequence[Night], *, only_missing: bool, redo: bool) -> list[date]:
    """The dates to run. What is finished is left alone, unless it is to be done again."""
    return [night.day for night in nights if redo or not only_missing or night.state is not NightState.DONE]


def to_start(
    days: Sequence[date], children: Mapping[date, Child], others: Collection[date], most: int
) -> list[date]:
    """The dates whose runs begin now, so that at most `most` are unfinished.

    `others` are dates that somebody else's flow run is working on: they are waited for, not started.
    """
    alive = sum(not child.over for child in children.values())
    waiting = [day for day in days if day not in children and day not in others]
    return waiting[: max(0, most - alive)]


def wait_seconds(youngest_seconds: float) -> float:
    """How long to sleep before looking again at runs of which the youngest is that old: a quarter of it."""
    return min(600.0, max(10.0, youngest_seconds / 4))


def youngest_seconds(children: Iterable[Child], now: datetime) -> float:
    """Age of the run that was made last; 0 when there is none."""
    return min(((now - (child.made_at or now)).total_seconds() for child in children), default=0.0)
