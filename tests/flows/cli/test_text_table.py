"""Tables on narrow terminals: what people copy is in one piece, and the rest gives way in order."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from flows.cli.text_table import table_lines

COLUMNS = ("run", "key", "since", "waiting for")
ROWS = [["d12935852b", "2026-11-21", "2026-11-22 02:00", "the provider says: try again later"]]


def lines(width: int, **how: object) -> list[str]:
    return table_lines(COLUMNS, ROWS, width, **{"shorten": ("waiting for",), "drop": ("since",), **how})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (120, "d12935852b  2026-11-21  2026-11-22 02:00  the provider says: try again later"),
        (60, "d12935852b  2026-11-21  2026-11-22 02:00  the provider says…"),
        (40, "d12935852b  2026-11-21  the provider sa…"),
        (30, "d12935852b  2026-11-21  the pro…"),  # longer than the terminal, and whole
    ],
)
def test_texts_are_shortened_then_columns_left_out_and_ids_never_cut(width: int, line: str) -> None:
    assert lines(width)[1] == line


def test_a_wrapped_column_breaks_between_words_alone() -> None:
    batch = "batch_" + "0123456789abcdef" * 2
    header, *rest = table_lines(
        ("event", "detail"), [["submitted", f"5 rows as {batch} at last"]], 30, wrap="detail"
    )
    assert header == "event      detail"
    assert rest == ["submitted  5 rows as", f"           {batch}", "           at last"]


@pytest.mark.parametrize("width", [20, 24, 40])
def test_width_is_counted_in_cells(width: int) -> None:
    printed = table_lines(("id", "error"), [["t-1", "通知通知通知通知通知通知"]], width, shorten=("error",))
    assert all(cell_len(line) <= width for line in printed)


def test_numbers_stand_at_the_right_and_no_line_ends_in_spaces() -> None:
    assert table_lines(("rows", "note"), [["1", ""], ["12,345", "x"]], 80, right=("rows",)) == [
        "  rows  note",
        "     1",
        "12,345  x",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert table_lines(COLUMNS, [], 80) == ["run  key  since  waiting for"]
