"""The receipt: a finished run in one JSON object, and as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

ANSWERED = ("succeeded", "reused")
STATUSES = (
    "succeeded",
    "truncated",
    "refused",
    "invalid",
    "failed",
    "expired",
    "cancelled",
    "missing",
    "skipped",
    "reused",
)
_ERRORS_SHOWN = 10


def rows_by_status(stats: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Sum of the chunks' counts, in the order of the words, zeros left out."""
    total: Counter[str] = Counter()
    for chunk in stats:
        total.update(chunk["by_status"])
    return {status: total[status] for status in STATUSES if total[status]}


def top_errors(stats: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The most frequent error codes with a count and one message each."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for chunk in stats:
        for code, (count, example) in chunk["errors"].items():
            counts[code] += count
            examples.setdefault(code, example)
    return [
        {"code": code, "rows": count, "example": examples[code]}
        for code, count in counts.most_common(_ERRORS_SHOWN)
    ]


def unanswered(receipt: Mapping[str, Any]) -> int:
    """Rows that came out without an answer."""
    return int(sum(count for status, count in receipt["rows"].items() if status not in (*ANSWERED, "total")))


def retry_line(receipt: Mapping[str, Any]) -> str:
    """How many of the unanswered rows may be answered when they are asked again; empty when none."""
    count = receipt.get("retryable", 0)
    return f"{counted(count, 'row', 'rows')} may be answered when asked again" if count else ""


def budget_line(receipt: Mapping[str, Any]) -> str:
    """What to say when more rows have no answer than `run.error_budget` allows; empty otherwise."""
    budget, total = receipt.get("error_budget"), receipt["rows"]["total"]
    if budget is None or not total or unanswered(receipt) <= budget * total:
        return ""
    share = unanswered(receipt) / total
    return f"{share:.1%} of the rows have no answer; run.error_budget allows {budget:.1%}"


def as_markdown(receipt: Mapping[str, Any]) -> str:
    """The receipt as a Prefect artifact."""
    rows = receipt["rows"]
    lines = [
        f"## {receipt['job']} {receipt['key']}",
        f"{rows['total']:,} rows → `{receipt['output']}`",
        "",
        "| status | rows |",
        "|---|---:|",
        *(f"| {status} | {count:,} |" for status, count in rows.items() if status != "total"),
        "",
        f"cost {_money(receipt)} · tokens {_tokens(receipt)} · batches {_batches(receipt)} · time {duration(receipt['seconds'])}",
    ]
    if over := budget_line(receipt):
        lines += ["", f"**Over the error budget:** {over}."]
    if more := retry_line(receipt):
        lines += ["", f"{more}: run the same job and key with `retry`."]
    if receipt.get("report"):
        lines += ["", _link(receipt["report"])]
    if receipt["errors"]:
        lines += ["", "| error | rows | example |", "|---|---:|---|"]
        lines += [f"| {e['code']} | {e['rows']:,} | {_cell(e['example'])} |" for e in receipt["errors"]]
    return "\n".join(lines)


def as_text(receipt: Mapping[str, Any]) -> str:
    """The receipt in a few lines for a terminal."""
    rows = receipt["rows"]
    counted = ", ".join(f"{count:,} {status}" for status, count in rows.items() if status != "total")
    lines = [
        f"{receipt['job']} {receipt['key']}: {rows['total']:,} rows ({counted})",
        f"  output   {receipt['output']}",
        *([f"  report   {receipt['report']}"] if receipt.get("report") else []),
        f"  batches  {_batches(receipt)}",
        f"  tokens   {_tokens(receipt)}",
        f"  cost     {_money(receipt)}",
        f"  time     {duration(receipt['seconds'])}",
        *([f"  budget   {over}"] if (over := budget_line(receipt)) else []),
    ]
    lines += [f"  error    {e['rows']:,} × {e['code']}: {e['example'][:120]}" for e in receipt["errors"][:3]]
    return "\n".join(lines)


def _link(report: str) -> str:
    """The run report as Markdown; a place that no browser opens is only named."""
    if "://" in report:
        return f"[Report]({report})" if report.startswith("http") else f"Report: `{report}`"
    return f"[Report](file://{quote(report)}): `{report}`"


def _money(receipt: Mapping[str, Any]) -> str:
    cost = receipt["cost_usd"]
    if cost is None:
        return "unknown price"
    return "free" if cost == 0 else f"${cost:,.4f}"


def _tokens(receipt: Mapping[str, Any]) -> str:
    tokens = receipt["tokens"]
    return f"{tokens['input']:,} in, {tokens['output']:,} out"


def _batches(receipt: Mapping[str, Any]) -> str:
    batches = receipt["batches"]
    again = f", {batches['follow_ups']} of them for rows without an answer" if batches["follow_ups"] else ""
    return f"{batches['posted']} posted for {counted(receipt['chunks'], 'chunk', 'chunks')}{again}"


def duration(seconds: float) -> str:
    """`6.2 s`, `12 min`, `3 h 20 min`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, one: str, many: str) -> str:
    """`1 chunk`, `1,200 chunks`."""
    return f"{count:,} {one if count == 1 else many}"


def _cell(text: str) -> str:
    return " ".join(text.split())[:200].replace("|", "\\|")
