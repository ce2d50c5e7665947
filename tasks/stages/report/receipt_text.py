"""Format a receipt as text: Markdown for Prefect, a few lines for a terminal."""

from __future__ import annotations

from urllib.parse import quote

from configs.foreign_text import printable
from tasks.stages.report.budget_state import budget_lines
from tasks.stages.report.formatting import count_with_noun, duration, markdown_code, markdown_text
from tasks.stages.report.receipt import Receipt
from tasks.stages.wire.outcome import REPLY_LOST


def retry_line(receipt: Receipt) -> str:
    """How many unanswered rows another attempt may answer, as a sentence; empty when none."""
    count = receipt.retryable
    return f"{count_with_noun(count, 'row', 'rows')} may be answered when asked again" if count else ""


def budget_line(receipt: Receipt) -> str:
    """The warning when more rows lack an answer than `run.error_budget` allows; empty otherwise."""
    if not receipt.is_over_budget:
        return ""
    share = receipt.rows.unanswered / receipt.rows.total
    return f"{share:.1%} of the rows have no answer; run.error_budget allows {receipt.error_budget:.1%}"


def odd_lines_text(receipt: Receipt) -> str:
    """How many lines of the result files belong to no row or cannot be read; empty when none."""
    odd = receipt.odd_lines
    counts = (
        (odd.unknown_ids, "for rows that were not asked"),
        (odd.duplicate_lines, "more than one for a row"),
        (odd.unparsable_lines, "that could not be read"),
    )
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def reused_text(receipt: Receipt) -> str:
    """How many rows took over an earlier answer, and what those had cost; empty when none did."""
    reused = receipt.reused
    if reused is None or not reused.rows:
        return ""
    rows = count_with_noun(reused.rows, "row", "rows")
    saved = "" if not reused.saved_usd else f", ${reused.saved_usd:,.4f} not paid again"
    return f"{rows} answered by earlier runs{saved}"


def cache_text(receipt: Receipt) -> str:
    """What writing to the prompt cache cost and reading from it saved, with a warning when it did not pay; empty when no
    cache was used."""
    cache = receipt.cache
    if cache is None:
        return ""
    text = f"{cache.written:,} tokens written for {_usd(cache.write_usd)}, {cache.read:,} read, which saved {_usd(cache.saved_usd)}"
    if not cache.loss_usd:
        return text
    return (
        f"{text}; warning: it cost ${cache.loss_usd:,.4f} more than no cache, set prompt.cache: none or prime"
    )


def real_time_texts(receipt: Receipt) -> list[str]:
    """What real-time calls answered after the deadline, and what of the cost that is; a line for each lane."""
    return [
        f"{count_with_noun(use.rows, 'row', 'rows')} by {use.lane} real-time calls after the deadline, for {_usd(use.cost_usd)}"
        for use in receipt.real_time
    ]


def _usd(usd: float | None) -> str:
    return "an unknown sum" if usd is None else f"${usd:,.4f}"


def as_markdown(receipt: Receipt) -> str:
    """A receipt as Markdown, for a Prefect artifact."""
    rows = receipt.rows
    lines = [
        f"## {receipt.job} {receipt.key}",
        f"{rows.total:,} rows → {markdown_code(receipt.output)}",
        "",
        "| status | rows |",
        "|---|---:|",
        *(f"| {status} | {count:,} |" for status, count in rows.by_status.items()),
        "",
        f"cost {_cost_text(receipt)} · tokens {_token_text(receipt)} · batches {_batch_text(receipt)} · time {duration(receipt.seconds)}",
    ]
    lines += [f"\nAsked at once: {text}." for text in real_time_texts(receipt)]
    if reused := reused_text(receipt):
        lines += ["", f"Reused: {reused}."]
    if cache := cache_text(receipt):
        lines += ["", f"Prompt cache: {cache}."]
    lines += [f"\nSpent of {markdown_text(line)}." for line in budget_lines(receipt.budgets)]
    if odd_text := odd_lines_text(receipt):
        lines += ["", f"Odd lines in the results: {odd_text}."]
    if budget_text := budget_line(receipt):
        lines += ["", f"**Over the error budget:** {budget_text}."]
    if retry_text := retry_line(receipt):
        lines += ["", f"{retry_text}: run the same job and key with `retry`."]
    if receipt.is_trial:
        lines += ["", "This was a trial. For all rows, run the same job and key without `limit`."]
    if receipt.report:
        lines += ["", _link(receipt.report)]
    if receipt.errors:
        lines += ["", "| error | rows | example |", "|---|---:|---|"]
        lines += [f"| {markdown_text(e.code)} | {e.rows:,} | {_cell(e.example)} |" for e in receipt.errors]
    return "\n".join(lines)


def outcome_text(receipt: Receipt) -> str:
    """A receipt in one line, for logs and states."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in receipt.rows.by_status.items())
    rows = count_with_noun(receipt.rows.total, "row", "rows")
    posted = count_with_noun(receipt.batches.posted, "batch", "batches")
    chunks = count_with_noun(receipt.chunks, "chunk", "chunks")
    return (
        f"{rows} ({statuses}) to {receipt.output}; cost: {_cost_text(receipt)}; {posted} for {chunks};"
        f" {duration(receipt.seconds)} since the run began"
    )


def as_text(receipt: Receipt) -> str:
    """A receipt in a few lines, for a terminal."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in receipt.rows.by_status.items())
    lines = [
        f"{receipt.job} {receipt.key}: {receipt.rows.total:,} rows ({statuses})",
        f"  output   {receipt.output}",
        *([f"  report   {receipt.report}"] if receipt.report else []),
        *(f"  lines    {path}" for path in receipt.result_lines),
        f"  batches  {_batch_text(receipt)}",
        f"  tokens   {_token_text(receipt)}",
        f"  cost     {_cost_text(receipt)}",
        *(f"  at once  {text}" for text in real_time_texts(receipt)),
        *([f"  cache    {cache}"] if (cache := cache_text(receipt)) else []),
        *(f"  spent    {line}" for line in budget_lines(receipt.budgets)),
        *([f"  reused   {reused}"] if (reused := reused_text(receipt)) else []),
        f"  time     {duration(receipt.seconds)}",
        *([f"  lines    {odd_text}"] if (odd_text := odd_lines_text(receipt)) else []),
        *([f"  budget   {budget_text}"] if (budget_text := budget_line(receipt)) else []),
    ]
    lines += [
        f"  error    {e.rows:,} × {printable(e.code)}: {printable(e.example[:120])}"
        for e in receipt.errors[:3]
    ]
    return "\n".join(lines)


def _link(report: str) -> str:
    """A Markdown link to the run report; a URL that browsers cannot open, such as s3://, is shown as text."""
    if "://" in report:
        return f"[Report]({report})" if report.startswith("http") else f"Report: {markdown_code(report)}"
    return f"[Report](file://{quote(report)}): {markdown_code(report)}"


def _cost_text(receipt: Receipt) -> str:
    cost = receipt.cost_usd
    if cost is None:
        lost = sum(error.rows for error in receipt.errors if error.code == REPLY_LOST)
        calls = count_with_noun(lost, "real-time call that got no reply", "real-time calls that got no reply")
        return f"unknown: {calls} may have been paid for" if lost else "unknown price"
    return "free" if cost == 0 else f"${cost:,.4f}{_estimated_cost(receipt, cost)}"


def _estimated_cost(receipt: Receipt, cost: float) -> str:
    """What it was thought to cost, and how far off that was; empty where nobody knew."""
    thought = receipt.estimate.total_usd if receipt.estimate else None
    if thought is None or thought.high is None:
        return ""
    if not thought.expected:
        return f" (estimate: ${thought.low or 0:,.4f} to ${thought.high:,.4f})"
    return f" (estimate: ${thought.expected:,.4f}, {round(cost / thought.expected - 1, 3) + 0.0:+.1%})"


def _token_text(receipt: Receipt) -> str:
    text = f"{receipt.tokens.input:,} in, {receipt.tokens.output:,} out"
    if receipt.estimate is None or receipt.estimate_deviation is None:
        return text
    deviation = round(receipt.estimate_deviation, 3) + 0.0  # no -0.0
    return f"{text} (estimate: {receipt.estimate.prompt_tokens:,} in, {deviation:+.1%})"


def _batch_text(receipt: Receipt) -> str:
    batches = receipt.batches
    follow_up_text = (
        f", {batches.follow_ups} of them for rows without an answer" if batches.follow_ups else ""
    )
    return f"{batches.posted} posted for {count_with_noun(receipt.chunks, 'chunk', 'chunks')}{follow_up_text}"


def _cell(text: str) -> str:
    return markdown_text(" ".join(text.split())[:200])
