"""Derive the report's headline, figures and tables from a receipt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tasks.stages.report.formatting import count_with_noun, duration
from tasks.stages.report.page.formatting import dollars, local_and_utc, percentage
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import cache_text, real_time_texts, reused_text
from tasks.stages.row_status import RowStatus

_ODD_LINE_TEXTS = {
    "unknown_ids": "for rows that were not asked",
    "duplicate_lines": "beyond the first for a row",
    "unparsable_lines": "that could not be read",
}


class Figure(NamedTuple):
    """One of the large figures at the top of the report."""

    name: str
    value: str
    remark: str


class RunProperty(NamedTuple):
    """A line of the table about the run; `is_code` sets its value in a monospaced font."""

    name: str
    value: str
    is_code: bool


class StatusRow(NamedTuple):
    """The number of rows with a status, and their percentage of all rows."""

    status: RowStatus
    rows: int
    percent: float


def headline(receipt: Receipt, *, stopped: bool) -> str:
    """The result of the run in one sentence: `118 of 120 rows answered; 2 failed.`"""
    rows = receipt.rows
    if rows.total == 0:
        sentence = "There were no rows"
    elif rows.answered == rows.total:
        sentence = "The only row was answered" if rows.total == 1 else f"All {rows.total:,} rows answered"
    else:
        others = ", ".join(
            f"{count:,} {status}" for status, count in rows.by_status.items() if not status.is_success
        )
        sentence = f"{rows.answered:,} of {rows.total:,} rows answered; {others}"
    beginning = ("Trial: " if receipt.is_trial else "") + ("Stopped before its end: " if stopped else "")
    return f"{beginning}{sentence}."


def headline_class(receipt: Receipt, *, stopped: bool) -> str:
    """CSS class of the headline, which sets its colour: `good`, `mixed` or `bad`."""
    unanswered = receipt.rows.unanswered
    if unanswered and unanswered == receipt.rows.total:
        return "bad"
    return "mixed" if unanswered or stopped else "good"


def figures(receipt: Receipt) -> list[Figure]:
    """The figures at the top: rows, tokens, cost and time."""
    rows, tokens = receipt.rows, receipt.tokens
    parts = {"in": tokens.input, "out": tokens.output}
    parts |= {name: count for name, count in _parts_of_tokens(receipt).items() if count}
    return [
        Figure(
            "Answered",
            percentage(rows.answered, rows.total) or "–",
            f"{rows.answered:,} of {rows.total:,} rows",
        ),
        Figure(
            "Tokens",
            f"{tokens.input + tokens.output:,}",
            ", ".join(f"{count:,} {name}" for name, count in parts.items()),
        ),
        _cost_figure(receipt),
        Figure(
            "Time",
            duration(receipt.seconds),
            count_with_noun(receipt.batches.posted, "batch", "batches") + " posted",
        ),
    ]


def _parts_of_tokens(receipt: Receipt) -> dict[str, int]:
    return {"cached": receipt.tokens.cached, "reasoning": receipt.tokens.reasoning}


def _cost_figure(receipt: Receipt) -> Figure:
    if receipt.cost_usd is None:
        return Figure("Cost", "unknown", "no price is known for it")
    if _is_free(receipt):
        return Figure("Cost", "free", "embedded service")
    cost, bought = receipt.cost_usd, receipt.rows.answered - receipt.rows.by_status.get(RowStatus.REUSED, 0)
    remark = f"per 1,000 answers ${1000 * cost / bought:,.4f}" if cost and bought else ""
    return Figure("Cost", dollars(cost), remark)


def _is_free(receipt: Receipt) -> bool:
    return receipt.provider == "local" and receipt.cost_usd == 0


def properties(receipt: Receipt, zone: ZoneInfo) -> list[RunProperty]:
    """The table about the run: source, output, model, provider, times, cost."""
    answered_by = RunProperty("Answered by", receipt.answered_by, is_code=True)
    if receipt.answered_by == "echo":
        answered_by = RunProperty("Answered by", "echoes of the embedded service", is_code=False)
    redo = f", redo number {receipt.generation - 1}" if receipt.generation > 1 else ""
    cost = "free (embedded service)" if _is_free(receipt) else dollars(receipt.cost_usd)
    tokens = {"input": receipt.tokens.input, "output": receipt.tokens.output, **_parts_of_tokens(receipt)}
    return [
        RunProperty("Output", receipt.output, is_code=True),
        RunProperty("Source", receipt.source, is_code=True),
        RunProperty("Model", receipt.model, is_code=True),
        RunProperty("Provider", receipt.provider, is_code=False),
        answered_by,
        RunProperty("Started", local_and_utc(receipt.started_at, zone), is_code=False),
        RunProperty("Finished", local_and_utc(receipt.finished_at, zone), is_code=False),
        RunProperty(
            "Tokens", ", ".join(f"{count:,} {kind}" for kind, count in tokens.items()), is_code=False
        ),
        RunProperty("Cost", cost, is_code=False),
        *(RunProperty("Asked at once", text, is_code=False) for text in real_time_texts(receipt)),
        *([RunProperty("Prompt cache", cache, is_code=False)] if (cache := cache_text(receipt)) else []),
        *([RunProperty("Reused", reused, is_code=False)] if (reused := reused_text(receipt)) else []),
        RunProperty("Logical date", receipt.date.isoformat(), is_code=False),
        RunProperty("Run", receipt.run + redo, is_code=True),
        RunProperty("Run folder", receipt.run_folder, is_code=True),
    ]


def status_rows(receipt: Receipt) -> Iterator[StatusRow]:
    """The statuses that occur, with their rows, in the order of `RowStatus`."""
    rows = receipt.rows
    for status in RowStatus:
        if count := rows.by_status.get(status):
            yield StatusRow(status, count, 100 * count / max(1, rows.total))


def odd_lines(receipt: Receipt) -> list[str]:
    """Counts of result lines that match no row, as text: `2 lines for rows that were not asked`."""
    counts = receipt.odd_lines.as_json()
    return [
        f"{count_with_noun(counts[kind], 'line', 'lines')} {text}"
        for kind, text in _ODD_LINE_TEXTS.items()
        if counts[kind]
    ]
