"""What runs look like on a terminal, and what programs get that read the same commands."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from configs.progress import Progress, SilentReporter
from flows.cli.terminal import progress_bar, show_table

COLUMNS, ROW = ("name", "rows", "since"), ("letters", 12_345, datetime(2026, 11, 22, 2, 0, tzinfo=UTC))


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output goes to a terminal, as far as rich can tell."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")


def test_programs_read_tables_as_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(COLUMNS, [ROW])
    assert capsys.readouterr().out == "name\trows\tsince\nletters\t12,345\t2026-11-22 02:00:00\n"


@pytest.mark.usefixtures("on_a_terminal")
def test_people_read_tables_as_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(COLUMNS, [ROW])
    assert capsys.readouterr().out == "name       rows  since\nletters  12,345  2026-11-22 02:00\n"


def test_there_is_no_progress_bar_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as reporter:
        reporter.progress(Progress("answering", 1, 10, "rows", "0/2 chunks merged"))
    assert isinstance(reporter, SilentReporter)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("on_a_terminal")
def test_the_progress_bar_and_its_notes_leave_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as reporter:
        reporter.progress(Progress("answering", 1, 10, "rows", "0/2 chunks merged"))
        reporter.note("warning: chunk 1")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "answering" in printed.err
    assert "warning: chunk 1" in printed.err
