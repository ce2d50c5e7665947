"""Format tables as CSV and Markdown, for other programs and pages.

pandas is imported inside the functions: it takes half a second and 35 MB, which other commands should not pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks.stages.report.formatting import markdown_text

if TYPE_CHECKING:
    import pandas as pd


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as CSV, with a header line even without rows. Null is empty, times are ISO 8601 in UTC."""
    return _frame(columns, rows).to_csv(index=False, lineterminator="\n")


def as_markdown(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as Markdown, numbers aligned right. (`DataFrame.to_markdown` needs the package tabulate.)"""
    frame = _frame(columns, rows)
    numeric = frame.map(_is_number).any()
    lines = [
        list(columns),
        ["--:" if numeric[column] else "---" for column in columns],
        *frame.map(_cell).itertuples(index=False, name=None),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _frame(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    # As objects: a column of integers with a null in it would become floats.
    values = [[_plain(row[column]) for column in columns] for row in rows]
    return pd.DataFrame(values, columns=list(columns), dtype=object)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, str):
        # Python's csv does not quote a lone \r, and readers end the row there.
        return value.replace("\r\n", "\n").replace("\r", "\n")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _cell(value: Any) -> str:
    """A table cell: on one line, as it is."""
    return "" if value is None else markdown_text(" ".join(str(value).split()))
