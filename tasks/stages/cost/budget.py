"""Budgets as pure arithmetic: when a window began and when the next begins, and what is said when one is reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from configs.budgets import BudgetWindow

_ROLLING = {"rolling-24h": timedelta(hours=24), "rolling-30d": timedelta(days=30)}


def window_start(window: BudgetWindow, now: datetime, zone: ZoneInfo) -> datetime | None:
    """When the window that `now` lies in began; None for a run's own.

    Days, ISO weeks and months begin at midnight in `zone`; where the clocks skip midnight, when they were changed.
    """
    if window == "run":
        return None
    if window in _ROLLING:
        return now - _ROLLING[window]
    return _midnight(_first_day(window, now.astimezone(zone)), zone)


def window_end(window: BudgetWindow, now: datetime, zone: ZoneInfo) -> datetime | None:
    """When the next window begins; None where there is no such moment: a run's own, and those that roll."""
    if window == "run" or window in _ROLLING:
        return None
    first = _first_day(window, now.astimezone(zone))
    days = {"day": 1, "week": 7, "month": 31}[window]  # 31 days after the first lies in the next month
    return _midnight(_first_day(window, first + timedelta(days=days)), zone)


def _first_day(window: BudgetWindow, day: datetime) -> datetime:
    if window == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if window == "month" else day


def _midnight(day: datetime, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def amount_text(amount: float, *, usd: bool) -> str:
    """`$1.25`, or `1,250,000 tokens`; fractions of a cent are shown while they are all there is."""
    if not usd:
        return f"{round(amount):,} tokens"
    return f"${amount:,.2f}" if amount == 0 or amount >= 0.1 else f"${amount:,.4f}"


def reached_text(
    name: str, limit: float, spent: float, wanted: float, *, usd: bool, until: datetime | None
) -> str:
    """One line: which budget, how much of it is gone, and until when nothing is posted."""
    what = (
        f"{name} is reached: {amount_text(spent, usd=usd)} of {amount_text(limit, usd=usd)} are spent or in flight,"
        f" and this batch may take {amount_text(wanted, usd=usd)}"
    )
    if wanted > limit:
        return f"{what}, which is more than all of it: make batches smaller (limits.max_requests) or the budget higher"
    return f"{what}; until {until:%Y-%m-%d %H:%M %Z}" if until else what
