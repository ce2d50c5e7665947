"""Render the run report from the template `report.html.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tasks.stages.report.page import formatting, summary
from tasks.stages.report.page.batches import BatchView, latency, select_batches, timeline
from tasks.stages.report.page.samples import Sample
from tasks.stages.report.receipt import Receipt
from tasks.stages.row_status import RowStatus

_MAX_BATCHES = 60  # in table and timeline: more bars cannot be read, and the page would grow with the run


def render_page(
    receipt: Receipt,
    batches: Sequence[BatchView],
    samples: Sequence[Sample],
    *,
    zone: ZoneInfo,
    columns: int = 0,
    stopped: bool = False,
) -> bytes:
    """The report as UTF-8 HTML, the same bytes for the same arguments.

    `zone` is the job's; `columns` is the number of source columns; `stopped` is set when the run ended before its batches did.
    """
    shown_batches = select_batches(batches, _MAX_BATCHES)
    template = _environment().get_template("report.html.j2")
    page = template.render(
        receipt=receipt,
        headline=summary.headline(receipt, stopped=stopped),
        headline_class=summary.headline_class(receipt, stopped=stopped),
        figures=summary.figures(receipt),
        properties=summary.properties(receipt, zone),
        stylesheet=stylesheet(),
        status_rows=list(summary.status_rows(receipt)),
        odd_lines=summary.odd_lines(receipt),
        batches=shown_batches,
        all_batches=len(batches),
        batch_statuses=_batch_statuses(batches),
        latency=latency(batches),
        timeline=timeline(shown_batches, receipt.finished_at, zone),
        samples=samples,
        columns=columns,
        zone=zone,
        time_format=_time_format(batches, zone),
    )
    return page.encode()


@cache
def stylesheet() -> str:
    """The report's CSS, with the colour of every row status."""
    of_statuses = (f".s-{status} {{ background: var(--{status}); }}\n" for status in RowStatus)
    return _environment().get_template("report.css").render() + "\n" + "".join(of_statuses)


def environment(package: str, folder: str) -> Environment:
    """Templates of a package's folder whose values are text and never markup, whatever characters they hold."""
    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        # Applied to every value that a template prints, so that no place can forget it.
        finalize=_replace_unsendable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _environment() -> Environment:
    templates = environment("tasks.stages.report", "page")
    templates.filters |= {
        "clock": _clock,
        "shorten": formatting.shorten,
        "dollars": formatting.dollars,
        "percentage": formatting.percentage,
        "took": formatting.duration_or_dash,
    }
    return templates


def _replace_unsendable(value: Any) -> Any:
    return (
        formatting.replace_unsendable(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def _clock(time: datetime | None, zone: ZoneInfo, time_format: str) -> str:
    return "–" if time is None else time.astimezone(zone).strftime(time_format)


def _time_format(batches: Sequence[BatchView], zone: ZoneInfo) -> str:
    """Format of times in the table: with the day only if there are several days."""
    times = [time for batch in batches for time in (batch.posted, batch.ended) if time]
    days = {time.astimezone(zone).date() for time in times}
    return "%m-%d %H:%M:%S" if len(days) > 1 else "%H:%M:%S"


def _batch_statuses(batches: Sequence[BatchView]) -> str:
    """`987 completed, 12 expired, 1 failed`."""
    statuses = [batch.status for batch in batches]
    return ", ".join(f"{statuses.count(status):,} {status}" for status in sorted(set(statuses)))
