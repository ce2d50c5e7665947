"""The receipt as text for people: a Markdown page, and a few lines for a terminal."""

from __future__ import annotations

from urllib.parse import quote

from tasks.stages.report.formatting import counted, duration
from tasks.stages.report.receipt import Receipt


def retry_line(receipt: Receipt) -> str:
    """How many of the unanswered rows may be answered when they are asked again; empty when none."""
    count = receipt.retryable
    return f"{counted(count, 'row', 'rows')} may be answered when asked again" if count else ""


def budget_line(receipt: Receipt) -> str:
    """What to tell when more rows have no answer than `run.error_budget` allows; empty otherwise."""
    if not receipt.is_over_budget:
        return ""
    share = receipt.rows.unanswered / receipt.rows.total
    return f"{share:.1%} of the rows have no answer; run.error_budget allows {receipt.error_budget:.1%}"


def as_markdown(receipt: Receipt) -> str:
    """The receipt as a Prefect artifact."""
    rows = receipt.rows
    lines = [
        f"## {receipt.job} {receipt.key}",
        f"{rows.total:,} rows → `{receipt.output}`",
        "",
        "| status | rows |",
        "|---|---:|",
        *(f"| {status} | {count:,} |" for status, count in rows.by_status.items()),
        "",
        f"cost {_money(receipt)} · tokens {_tokens(receipt)} · batches {_batches(receipt)} · time {duration(receipt.seconds)}",
    ]
    if over := budget_line(receipt):
        lines += ["", f"**Over the error budget:** {over}."]
    if more := retry_line(receipt):
        lines += ["", f"{more}: run the same job and key with `retry`."]
    if receipt.report:
        lines += ["", _link(receipt.report)]
    if receipt.errors:
        lines += ["", "| error | rows | example |", "|---|---:|---|"]
        lines += [f"| {e.code} | {e.rows:,} | {_cell(e.example)} |" for e in receipt.errors]
    return "\n".join(lines)


def as_text(receipt: Receipt) -> str:
    """The receipt in a few lines for a terminal."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in receipt.rows.by_status.items())
    lines = [
        f"{receipt.job} {receipt.key}: {receipt.rows.total:,} rows ({statuses})",
        f"  output   {receipt.output}",
        *([f"  report   {receipt.report}"] if receipt.report else []),
        f"  batches  {_batches(receipt)}",
        f"  tokens   {_tokens(receipt)}",
        f"  cost     {_money(receipt)}",
        f"  time     {duration(receipt.seconds)}",
        *([f"  budget   {over}"] if (over := budget_line(receipt)) else []),
    ]
    lines += [f"  error    {e.rows:,} × {e.code}: {e.example[:120]}" for e in receipt.errors[:3]]
    return "\n".join(lines)


def _link(report: str) -> str:
    """The run report as Markdown; a place that no browser opens is only named."""
    if "://" in report:
        return f"[Report]({report})" if report.startswith("http") else f"Report: `{report}`"
    return f"[Report](file://{quote(report)}): `{report}`"


def _money(receipt: Receipt) -> str:
    cost = receipt.cost_usd
    if cost is None:
        return "unknown price"
    return "free" if cost == 0 else f"${cost:,.4f}"


def _tokens(receipt: Receipt) -> str:
    return f"{receipt.tokens.input:,} in, {receipt.tokens.output:,} out"


def _batches(receipt: Receipt) -> str:
    batches = receipt.batches
    again = f", {batches.follow_ups} of them for rows without an answer" if batches.follow_ups else ""
    return f"{batches.posted} posted for {counted(receipt.chunks, 'chunk', 'chunks')}{again}"


def _cell(text: str) -> str:
    return " ".join(text.split())[:200].replace("|", "\\|")
