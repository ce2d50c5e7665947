"""Check that the list of batches can be read page by page: each batch once, the newest first."""

from __future__ import annotations

from tasks.diagnostics.facts import Fact, Grade, Report
from tasks.providers.openai.raw_calls import RawCalls, Refused
from tasks.providers.times import time_of

_A_PAGE, _MOST_PAGES = 2, 50
_NAME = "list pages"


def check_list_pages(raw: RawCalls, ours: set[str], report: Report) -> None:
    """Read pages of two batches until all of `ours` were shown, and report what is unlike a list."""
    try:
        problem = _problem(raw, ours)
    except Refused as refusal:
        problem = refusal.text
    if problem is None:
        report(Fact(_NAME, Grade.OK, f"{len(ours)} batches, once each, the newest first"))
    else:
        report(Fact(_NAME, Grade.ODD, problem))


def _problem(raw: RawCalls, ours: set[str]) -> str | None:
    seen: set[str] = set()
    last_time, after = None, None
    for _ in range(_MOST_PAGES):
        page = raw.batches(_A_PAGE, after)
        if len(page) > _A_PAGE:
            return f"{len(page)} batches on a page, asked for {_A_PAGE}"
        for row in page:
            after = str(row.get("id"))
            if after in seen:
                return f"{after} is shown twice"
            seen.add(after)
            time = time_of(row.get("created_at"))
            if time and last_time and time > last_time:
                return f"{after} is newer than the one before it"
            last_time = time or last_time
        if not page or ours <= seen:
            break
    missing = len(ours - seen)
    return f"{missing} of {len(ours)} batches are on no page" if missing else None
