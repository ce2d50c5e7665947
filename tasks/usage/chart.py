"""Draw figures per day as an SVG picture that stands alone: no style, font or script from anywhere, on light and dark paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from operator import itemgetter
from typing import Final

from tasks.stages.report.formatting import duration
from tasks.usage.document import Figures, Group
from tasks.usage.table import cost_text

_WIDTH, _HEIGHT, _TOP, _LEFT = 720, 120, 28, 8
_BASE: Final = _HEIGHT - 20
_INK, _BAR, _LINE = "#7b8794", "#5b84d6", "#8793a2"  # to be read on white and on black


@dataclass(frozen=True)
class Series:
    """One figure per day: its title, the value that is drawn (None: unknown), and the value as text."""

    title: str
    value: Callable[[Figures], float | None]
    text: Callable[[Figures], str]


SERIES: Final = (
    Series("Cost", lambda day: day.cost_usd, cost_text),
    Series("Requests", lambda day: day.requests, lambda day: f"{day.requests:,}"),
    Series("Failure rate", lambda day: day.failure_rate or 0.0, lambda day: f"{day.failure_rate or 0.0:.1%}"),
    Series(
        "Mean batch time",
        lambda day: day.batch_seconds_mean or 0.0,
        lambda day: duration(day.batch_seconds_mean or 0.0),
    ),
)
"""What is worth a look day by day."""


def chart(days: Sequence[Group], series: Sequence[Series] = SERIES) -> str:
    """Bars for each series, one below the other; days from left to right. An unknown value is a question mark."""
    height = _HEIGHT * len(series)
    panels = "".join(_panel(days, each, _HEIGHT * place) for place, each in enumerate(series))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        f' role="img" font-family="sans-serif" font-size="12">{panels}</svg>'
    )


def highest_text(days: Sequence[Group], series: Series) -> str:
    """The highest value as text; where that of any day is unknown, what it is at least."""
    values = [series.value(day.figures) for day in days]
    known = [
        (value, series.text(day.figures))
        for value, day in zip(values, days, strict=True)
        if value is not None
    ]
    most, text = max(known, key=itemgetter(0), default=(0.0, "unknown"))
    if len(known) == len(values):
        return text
    return f"at least {text}" if most else "unknown"


def _panel(days: Sequence[Group], series: Series, top: int) -> str:
    values = [series.value(day.figures) for day in days]
    most = max((value for value in values if value is not None), default=0.0)
    highest = highest_text(days, series)
    step = (_WIDTH - 2 * _LEFT) / max(1, len(days))
    bars = "".join(
        _bar(day, series, value, most, _LEFT + step * place, step)
        for place, (day, value) in enumerate(zip(days, values, strict=True))
    )
    first, final = (days[0].name or "", days[-1].name or "") if days else ("", "")
    return (
        f'<g transform="translate(0 {top})"><text x="{_LEFT}" y="14" fill="{_INK}" font-weight="bold">{escape(series.title)}</text>'
        f'<text x="{_WIDTH - _LEFT}" y="14" fill="{_INK}" text-anchor="end">most: {escape(highest)}</text>{bars}'
        f'<path d="M{_LEFT} {_BASE}.5H{_WIDTH - _LEFT}" stroke="{_LINE}"/>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}" fill="{_INK}">{escape(first)}</text>'
        f'<text x="{_WIDTH - _LEFT}" y="{_HEIGHT - 6}" fill="{_INK}" text-anchor="end">{escape(final)}</text></g>'
    )


def _bar(day: Group, series: Series, value: float | None, most: float, left: float, step: float) -> str:
    about = f"<title>{escape(day.name or '')}: {escape(series.text(day.figures))}</title>"
    if value is None:
        middle = left + step / 2
        return f'<text x="{middle:.1f}" y="{_BASE - 4}" fill="{_INK}" text-anchor="middle">?{about}</text>'
    height = (_BASE - _TOP) * value / most if most else 0.0
    width = max(1.0, min(step - 1, 48))
    return (
        f'<rect x="{left + (step - width) / 2:.1f}" y="{_BASE - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' fill="{_BAR}">{about}</rect>'
    )
