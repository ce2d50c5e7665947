"""Add up the ledger's ended batches and reused rows over a range of time, in all and by group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from tasks.ledger.ended import EndedBatch, ReusingRun
from tasks.ledger.store import Ledger
from tasks.stages.report.receipt import ReusedAnswers, TokenSums
from tasks.usage.document import By, Figures, Group, Usage
from tasks.usage.frames import batch_frame, reuse_frame
from tasks.usage.period import Period

if TYPE_CHECKING:
    import pandas as pd

_TAIL: Final = 0.95  # of the requests keep to the p95


def usage_of(ledger: Ledger | None, period: Period, by: By, job: str | None = None) -> Usage:
    """Statistics of the period; those of one job, where it is named. All zero without a ledger."""
    if ledger is None:
        return summed_up((), (), period, by, job)
    span = (period.start, period.end)
    return summed_up(ledger.ended_batches(span, job), ledger.reusing_runs(span, job), period, by, job)


def summed_up(
    ended: Iterable[EndedBatch], reusing: Iterable[ReusingRun], period: Period, by: By, job: str | None = None
) -> Usage:
    """Statistics of these batches and runs, which are those of the period and the job."""
    batches, reuse = batch_frame(ended, period.zone), reuse_frame(reusing, period.zone)
    totals = _groups(batches.assign(all=""), reuse.assign(all=""), "all")
    groups = _groups(batches, reuse, by)
    days = groups if by is By.DAY else _groups(batches, reuse, By.DAY)
    return Usage(
        start=period.start,
        end=period.end,
        zone=str(period.zone),
        job=job,
        by=by,
        total=totals[0].figures if totals else NOTHING,
        groups=tuple(groups if by is By.DAY else sorted(groups, key=_by_cost)),
        days=tuple(_without_gaps(days)),
    )


def _by_cost(group: Group) -> tuple[float, int, str]:
    return -group.figures.known_cost_usd, -group.figures.requests, group.name or ""


def every_day(days: Iterable[Group], first: date, final: date) -> Iterator[Group]:
    """The days from the first to the final one, those on which nothing ended among them."""
    found = {day.name: day for day in days}
    for number in range((final - first).days + 1):
        name = (first + timedelta(days=number)).isoformat()
        yield found.get(name) or Group(name=name, figures=NOTHING)


def _without_gaps(days: list[Group]) -> Iterable[Group]:
    if not days:
        return ()
    return every_day(days, *(date.fromisoformat(day.name or "") for day in (days[0], days[-1])))


def _groups(batches: pd.DataFrame, reuse: pd.DataFrame, by: str) -> list[Group]:
    """The figures by the values of a column, in their order."""
    sums = added_up(batches, reuse, [by]).reset_index().to_dict("records")
    return [Group(name=each[by] or None, figures=_figures(each)) for each in sums]


def added_up(batches: pd.DataFrame, reuse: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The sums of both tables by the values of some columns, which are the index; also weighted times and the p95."""
    import pandas as pd

    counted = batches.assign(
        unpriced_batches=batches.usd.isna().astype(int),
        known_cost_usd=batches.usd.fillna(0.0),
        weighted_seconds=(batches.seconds * batches.requests).fillna(0.0),
        weight=batches.requests.where(batches.seconds.notna(), 0),
        weighted_queue_seconds=(batches.queue_seconds * batches.requests).fillna(0.0),
        queue_weight=batches.requests.where(batches.queue_seconds.notna(), 0),
    )
    counted = counted.drop(columns=["usd", "seconds", "queue_seconds"])
    saved = reuse.assign(
        unknown_savings=reuse.saved_usd.isna().astype(int), known_saved_usd=reuse.saved_usd.fillna(0.0)
    ).drop(columns=["saved_usd"])
    parts = [_sums(counted, by), _p95(batches, by), _sums(saved, by)]
    table = pd.concat(parts, axis=1).sort_index()
    return table.fillna({name: 0 for name in table.columns if name != "p95"})


def _sums(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return with_texts(table, by).groupby(by).sum(numeric_only=True)


def _p95(batches: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """By group, the shortest time that covers 95 of 100 requests."""
    asked = with_texts(batches[(batches.requests > 0) & batches.seconds.notna()], by).sort_values("seconds")
    requests = asked.groupby(by).requests
    reached = asked[requests.cumsum() >= _TAIL * requests.transform("sum")]
    return reached.groupby(by).seconds.first().to_frame("p95")


def with_texts(table: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """The table with some label columns as texts, a missing one empty: categories that differ, and NaNs, match no others."""
    return table.astype(dict.fromkeys(labels, object)).fillna(dict.fromkeys(labels, ""))


def _figures(sums: Mapping[Any, Any]) -> Figures:
    requests, answers = int(sums["requests"]), int(sums["answers"])
    usd = None if sums["unpriced_batches"] else _usd(sums["known_cost_usd"])
    return Figures(
        batches=int(sums["batches"]),
        refused_batches=int(sums["refused_batches"]),
        requests=requests,
        answers=answers,
        failures=requests - answers,
        failure_rate=_ratio(requests - answers, requests),
        batch_seconds_mean=_ratio(sums["weighted_seconds"], sums["weight"]),
        batch_seconds_p95=None if isnan(sums["p95"]) else float(sums["p95"]),
        queue_seconds_mean=_ratio(sums["weighted_queue_seconds"], sums["queue_weight"]),
        tokens=TokenSums(**{name: int(sums[name]) for name in TokenSums.model_fields}),
        cost_usd=usd,
        known_cost_usd=_usd(sums["known_cost_usd"]),
        unpriced_batches=int(sums["unpriced_batches"]),
        usd_per_1000_answers=None if usd is None else _ratio(usd * 1000, answers),
        reused=ReusedAnswers(
            rows=int(sums["rows"]),
            saved_usd=None if sums["unknown_savings"] else _usd(sums["known_saved_usd"]),
        ),
    )


def _usd(total: float) -> float:
    """A sum of dollars without what floats add to it: 4.999999999999999 is 5."""
    return round(float(total), 12)


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


NOTHING: Final = Figures(
    batches=0,
    refused_batches=0,
    requests=0,
    answers=0,
    failures=0,
    failure_rate=None,
    batch_seconds_mean=None,
    batch_seconds_p95=None,
    queue_seconds_mean=None,
    tokens=TokenSums(input=0, output=0, cached=0, reasoning=0),
    cost_usd=0.0,
    known_cost_usd=0.0,
    unpriced_batches=0,
    usd_per_1000_answers=None,
    reused=ReusedAnswers(rows=0, saved_usd=0.0),
)
"""The figures of a time in which nothing ended."""
