"""Statistics as a Markdown page, for an artifact in Prefect."""

from __future__ import annotations

from base64 import b64encode

from tasks.stages.report.formatting import markdown_text
from tasks.stages.report.tables import as_markdown
from tasks.usage.chart import chart
from tasks.usage.document import Usage
from tasks.usage.table import HEADINGS, cells, period_text, unpriced_text


def usage_as_markdown(usage: Usage) -> str:
    """The table, what is unknown in it, and a picture of the days. The picture is in the page itself, as a data URL."""
    columns = (str(usage.by), *HEADINGS)
    rows = [dict(zip(columns, row, strict=True)) for row in cells(usage)]
    parts = [f"{markdown_text(period_text(usage))}\n", as_markdown(columns, rows)]
    if text := unpriced_text(usage):
        parts.append(f"{markdown_text(text[0].upper() + text[1:])}.\n")
    if usage.days:
        picture = b64encode(chart(usage.days).encode()).decode()
        parts.append(
            f"![Cost, requests, failure rate and batch time per day](data:image/svg+xml;base64,{picture})\n"
        )
    return "\n".join(parts)
