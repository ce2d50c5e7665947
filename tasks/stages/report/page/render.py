"""The page itself: everything it says, put into `report.html.j2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tasks.stages.report.page import words
from tasks.stages.report.page.batches import BatchView, latency, notable, timeline
from tasks.stages.report.page.samples import Sample
from tasks.stages.report.receipt import STATUSES, counted, duration, unanswered

_MOST_BATCHES = 60
_MEANINGS = {
    "succeeded": "answered, and the answer satisfies the schema if there is one",
    "truncated": "cut off at the token limit; what there is of it is kept",
    "refused": "the model or the provider's content filter refused",
    "invalid": "the answer does not satisfy the schema; its text is kept",
    "failed": "the provider reports an error for the row",
    "expired": "the batch's time ran out before the row's turn",
    "cancelled": "the batch was cancelled before the row's turn",
    "missing": "the provider's files do not mention the row",
    "skipped": "never posted: its template failed, or it is too large",
    "reused": "answered by an earlier run",
}
_ODD = {
    "unknown_ids": "for rows that were not asked",
    "duplicate_lines": "beyond the first for a row",
    "unparsable_lines": "that could not be read",
}


def render_page(
    receipt: Mapping[str, Any],
    batches: Sequence[BatchView],
    samples: Sequence[Sample],
    *,
    zone: ZoneInfo,
    columns: int = 0,
    stopped: bool = False,
) -> bytes:
    """UTF-8 HTML, the same for the same arguments.

    `zone` is the job's; `columns` how many the rows had before; `stopped` when the run ended before its batches did.
    """
    ended = datetime.fromisoformat(receipt["finished_at"])
    shown = notable(batches, _MOST_BATCHES)
    template = _environment().get_template("report.html.j2")
    page = template.render(
        receipt=receipt,
        verdict=words.verdict(receipt, stopped=stopped),
        mood=_mood(receipt, stopped=stopped),
        figures=_figures(receipt),
        facts=_facts(receipt, zone),
        statuses=_statuses(receipt),
        odd_lines=_odd_lines(receipt),
        batches=shown,
        all_batches=len(batches),
        outcomes=_outcomes(batches),
        latency=latency(batches),
        timeline=timeline(shown, ended, zone),
        samples=samples,
        columns=columns,
        zone=zone,
        time_format=_time_format(batches, zone),
        words=words,
    )
    return page.encode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks.stages.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_sendable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cut": words.cut, "clock": _clock, "moment": words.moment, "took": words.took}
    return environment


def _sendable(value: Any) -> Any:
    return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clock(at: datetime | None, zone: ZoneInfo, shown: str) -> str:
    return "–" if at is None else at.astimezone(zone).strftime(shown)


def _time_format(batches: Sequence[BatchView], zone: ZoneInfo) -> str:
    """Days are told only where there are several."""
    times = [at.astimezone(zone).date() for batch in batches for at in (batch.posted, batch.ended) if at]
    return "%m-%d %H:%M:%S" if len(set(times)) > 1 else "%H:%M:%S"


def _mood(receipt: Mapping[str, Any], *, stopped: bool) -> str:
    left = unanswered(receipt)
    if left and left == receipt["rows"]["total"]:
        return "bad"
    return "mixed" if left or stopped else "good"


def _figures(receipt: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(what, how much, a remark) of the numbers that people look for first."""
    rows, tokens = receipt["rows"], receipt["tokens"]
    answered = rows.get("succeeded", 0) + rows.get("reused", 0)
    per_row = "" if not receipt["cost_usd"] or not answered else "per 1,000 answers "
    if per_row:
        per_row += f"${1000 * receipt['cost_usd'] / answered:,.4f}"
    parts = [f"{tokens[kind]:,} {kind}" for kind in ("cached", "reasoning") if tokens[kind]]
    return [
        ("Answered", words.share(answered, rows["total"]) or "–", f"{answered:,} of {rows['total']:,} rows"),
        (
            "Tokens",
            f"{tokens['input'] + tokens['output']:,}",
            ", ".join([f"{tokens['input']:,} in", f"{tokens['output']:,} out", *parts]),
        ),
        ("Cost", *_cost(receipt, per_row)),
        (
            "Time",
            duration(receipt["seconds"]),
            counted(receipt["batches"]["posted"], "batch", "batches") + " posted",
        ),
    ]


def _cost(receipt: Mapping[str, Any], per_row: str) -> tuple[str, str]:
    said, _, remark = words.cost(receipt).partition(" (")
    if said == "unknown":
        remark = "no price is known for it"
    return said, remark.rstrip(")") or per_row


def _facts(receipt: Mapping[str, Any], zone: ZoneInfo) -> list[tuple[str, str, bool]]:
    """(name, value, whether it is code) of what identifies the run."""
    echo = receipt["answered_by"] == "echo"
    started, finished = (datetime.fromisoformat(receipt[name]) for name in ("started_at", "finished_at"))
    tokens = receipt["tokens"]
    again = f", redo number {receipt['generation'] - 1}" if receipt["generation"] > 1 else ""
    return [
        ("Output", receipt["output"], True),
        ("Source", receipt["source"], True),
        ("Model", receipt["model"], True),
        ("Provider", receipt["provider"], False),
        (
            "Answered by",
            "echoes of the embedded service" if echo else receipt["answered_by"],
            not echo,
        ),
        ("Started", words.moment(started, zone), False),
        ("Finished", words.moment(finished, zone), False),
        ("Tokens", ", ".join(f"{tokens[kind]:,} {kind}" for kind in tokens), False),
        ("Cost", words.cost(receipt), False),
        ("Logical date", receipt["date"], False),
        ("Run", receipt["run"] + again, True),
        ("Run folder", receipt["run_folder"], True),
    ]


def _statuses(receipt: Mapping[str, Any]) -> list[tuple[str, int, float, str]]:
    """(status, rows, percent, meaning) in the order of the words."""
    rows = receipt["rows"]
    return [
        (status, rows[status], 100 * rows[status] / max(1, rows["total"]), _MEANINGS[status])
        for status in STATUSES
        if rows.get(status)
    ]


def _odd_lines(receipt: Mapping[str, Any]) -> list[str]:
    return [
        f"{counted(receipt['odd_lines'][kind], 'line', 'lines')} {what}"
        for kind, what in _ODD.items()
        if receipt["odd_lines"][kind]
    ]


def _outcomes(batches: Sequence[BatchView]) -> str:
    """`987 completed, 12 expired, 1 failed`."""
    statuses = [batch.status for batch in batches]
    return ", ".join(f"{statuses.count(status):,} {status}" for status in sorted(set(statuses)))
