"""Render the console's pages from the templates beside it: every value is escaped, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tasks.console.context import console_of
from tasks.console.outcomes import new_form_id
from tasks.stages.report.formatting import duration
from tasks.stages.report.page import formatting
from tasks.stages.report.page.render import environment

PAGES = (
    ("Runs", "/runs"),
    ("Batches", "/batches"),
    ("Statistics", "/statistics"),
    ("Jobs", "/jobs"),
    ("Budgets", "/budgets"),
)


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """The page of that template."""
    console = console_of(request)
    text = (
        _environment()
        .get_template(f"{template}.html.j2")
        .render(
            pages=PAGES,
            path=request.url.path,
            now=console.clock.now(),
            has_other_schema=console.has_other_schema,
            allows_actions=console.actions is not None,
            actions=console.actions,
            token=console.token,
            form_id=new_form_id(),
            **values,
        )
    )
    return HTMLResponse(text, status)


@cache
def _environment() -> Environment:
    templates = environment("tasks.console", "templates")
    filters: dict[str, Callable[..., Any]] = {
        "count": lambda number: "–" if number is None else f"{number:,}",
        "shorten": formatting.shorten,
        "dollars": formatting.dollars,
        "percentage": formatting.percentage,
        "percent": lambda part, whole: round(100 * part / whole, 2) if whole else 0,
        "seconds": lambda span: "–" if span is None else duration(span),
        "took": formatting.duration_or_dash,
        "utc": _utc,
        "utc_seconds": lambda time: f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        "iso": lambda time: time.astimezone(UTC).isoformat(timespec="seconds"),
        "until": _until,
        "amount": _amount,
    }
    templates.filters |= filters
    return templates


def _utc(time: datetime | None) -> str:
    """`2026-11-22 02:40`; a dash for None. Tables say once that their times are UTC."""
    return "–" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def _until(time: datetime, now: datetime) -> str:
    """`in 12 min`, `now`."""
    span = (time - now) / timedelta(seconds=1)
    return f"in {duration(span)}" if span > 0 else "now"


def _amount(amount: float, unit: str) -> str:
    return formatting.dollars(amount) if unit == "usd" else f"{amount:,.0f} tokens"
