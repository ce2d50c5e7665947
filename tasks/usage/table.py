"""Statistics as a table: plain values for programs, short texts for people."""

from __future__ import annotations

from typing import Any, Final

from tasks.stages.report.formatting import count_with_noun, duration
from tasks.usage.document import Figures, Usage

# Columns of the CSV; programs read it: a column may be added at the end, and none is renamed or moved.
COLUMNS: Final = (
    "by",
    "name",
    "batches",
    "refused_batches",
    "requests",
    "answers",
    "failures",
    "failure_rate",
    "batch_seconds_mean",
    "batch_seconds_p95",
    "queue_seconds_mean",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_usd",
    "known_cost_usd",
    "unpriced_batches",
    "usd_per_1000_answers",
    "reused_rows",
    "reused_saved_usd",
)
HEADINGS: Final = (
    "requests",
    "failed",
    "rate",
    "cost",
    "per 1,000",
    "mean",
    "p95",
    "queued",
    "tokens in",
    "out",
    "cached",
    "reasoning",
    "reused",
    "saved",
)
"""Of `cells`, after the name of the group."""
_ALL: Final = "all"


def records(usage: Usage) -> list[dict[str, Any]]:
    """A row a group and one for all, which has `all` as its `by` and no name; the keys are COLUMNS."""
    groups = [(str(usage.by), group.name, group.figures) for group in usage.groups]
    return [_record(*row) for row in (*groups, (_ALL, None, usage.total))]


def _record(by: str, name: str | None, figures: Figures) -> dict[str, Any]:
    values = figures.model_dump(exclude={"tokens", "reused"})
    tokens = {f"{kind}_tokens": count for kind, count in figures.tokens.model_dump().items()}
    reused = {f"reused_{name}": value for name, value in figures.reused.model_dump().items()}
    return {"by": by, "name": name, **values, **tokens, **reused}


def cells(usage: Usage) -> list[list[str]]:
    """A row a group and, where there is more than one, a last one for all: the name and what HEADINGS say."""
    rows = [[group.name or "(none)", *_cells(group.figures)] for group in usage.groups]
    return rows if len(rows) == 1 else [*rows, [_ALL, *_cells(usage.total)]]


def _cells(figures: Figures) -> list[str]:
    tokens = figures.tokens
    counts = (tokens.input, tokens.output, tokens.cached, tokens.reasoning)
    return [
        f"{figures.requests:,}",
        f"{figures.failures:,}",
        "" if figures.failure_rate is None else f"{figures.failure_rate:.1%}",
        cost_text(figures),
        _usd(figures.usd_per_1000_answers) if figures.answers else "",
        *(_time(each) for each in (figures.batch_seconds_mean, figures.batch_seconds_p95)),
        _time(figures.queue_seconds_mean),
        *(f"{count:,}" for count in counts),
        f"{figures.reused.rows:,}",
        _usd(figures.reused.saved_usd) if figures.reused.rows else "",
    ]


def cost_text(figures: Figures) -> str:
    """What the batches cost; `unknown`, or as much as is known of it, where the cost of any is not."""
    if figures.cost_usd is None and figures.known_cost_usd:
        return f"over {_usd(figures.known_cost_usd)}"
    return _usd(figures.cost_usd)


def unpriced_text(usage: Usage) -> str:
    """Why a cost is unknown, as a sentence; empty where none is."""
    count = usage.total.unpriced_batches
    if not count:
        return ""
    return (
        f"the cost of {count_with_noun(count, 'batch', 'batches')} is unknown: their model has no price"
        " (configs/prices.yaml), or their answers are not read yet"
    )


def period_text(usage: Usage) -> str:
    """`2026-10-23 02:00 to 2026-11-22 02:00 UTC`, by the clock of the zone."""
    zone = usage.zone_info
    start, end = (
        None if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
        for moment in (usage.start, usage.end)
    )
    return f"{start or 'the beginning'} to {end or 'now'} {usage.zone}" + (
        f", job {usage.job}" if usage.job else ""
    )


def _usd(usd: float | None) -> str:
    return "unknown" if usd is None else f"${usd:,.4f}"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
