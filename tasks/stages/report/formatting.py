"""Format counts and durations as text."""

from __future__ import annotations

import re

from configs.foreign_text import printable


def duration(seconds: float) -> str:
    """A duration as text: `6.2 s`, `12 min`, `3 h 20 min`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def count_with_noun(count: int, one: str, many: str) -> str:
    """A count with its noun in singular or plural: `1 chunk`, `1,200 chunks`."""
    return f"{count:,} {one if count == 1 else many}"


def markdown_text(text: str) -> str:
    """A text that others wrote as Markdown that shows it as it is: no link with another text, picture or HTML, and one cell of a
    table."""
    return re.sub(r"([\\\[\]|`])", r"\\\1", printable(text)).replace("<", "&lt;")


def markdown_code(text: str) -> str:
    """A text as code in Markdown, also in a table."""
    return f"`{printable(text).replace('`', chr(39)).replace('|', '&#124;')}`"
