"""Lay out a table as lines for a terminal: what people copy stays in one piece, other columns give way."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size

_GAP = "  "
_LEAST = 8  # a shortened or wrapped column is not made narrower


def table_lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    right: Collection[str] = (),
    shorten: Collection[str] = (),
    wrap: str = "",
    drop: Sequence[str] = (),
) -> list[str]:
    """The header and the rows as lines of at most `width` cells, where that can be.

    While they do not fit, the columns `shorten` are cut at an ellipsis and `wrap` is broken between words; then those of
    `drop` are left out, in that order. All others are never cut: a line may become longer than the terminal, which
    breaks it for the eye alone. Columns in `right` are aligned to the right.
    """
    flexible = {*shorten, wrap}
    texts = {
        name: [name, *(" ".join(row[place].split()) for row in rows)] for place, name in enumerate(columns)
    }
    widths = {name: max(map(cell_len, cells)) for name, cells in texts.items()}
    while True:
        rigid = sum(size for name, size in widths.items() if name not in flexible)
        rest = width - rigid - len(_GAP) * (len(widths) - 1)
        soft = [name for name in widths if name in flexible]
        if rest >= sum(min(_LEAST, widths[name]) for name in soft) or not (
            droppable := [name for name in drop if name in widths]
        ):
            break
        del widths[droppable[0]]
    for number, name in enumerate(soft):
        share = max(rest // (len(soft) - number), _LEAST)
        widths[name] = min(widths[name], share)
        rest -= widths[name]
    return [line for place in range(len(rows) + 1) for line in _row_lines(texts, widths, place, right, wrap)]


def _row_lines(
    texts: dict[str, list[str]], widths: dict[str, int], place: int, right: Collection[str], wrap: str
) -> list[str]:
    """One row: a line, and further ones for the rest of the wrapped column."""
    cells: list[str] = []
    further: list[str] = []
    indent = 0
    for name, size in widths.items():
        text = texts[name][place]
        if name == wrap:
            indent = sum(cell_len(cell) for cell in cells) + len(_GAP) * len(cells)
            text, *further = textwrap.wrap(text, size, break_long_words=False, break_on_hyphens=False) or [""]
        elif cell_len(text) > size:
            text = set_cell_size(text, size - 1) + "…"
        padding = " " * (size - cell_len(text))
        cells.append(padding + text if name in right else text + padding)
    return [_GAP.join(cells).rstrip(), *(" " * indent + line for line in further)]
