"""Terminal output: a progress bar on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from traceback import print_exc
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table
from rich.text import Text

from configs.errors import ConfigError
from configs.foreign_text import printable
from configs.json_log import logs_json
from configs.progress import Progress, Reporter, SilentReporter
from flows.cli.text_table import table_lines
from tasks.ledger.leases import describe_owner
from tasks.orchestration.current_run import flow_run_context
from tasks.stages.report.budget_state import BudgetState, budget_lines
from tasks.stages.report.estimate import Estimate
from tasks.stages.report.estimate_text import reserved_text, revision_text
from tasks.stages.report.tables import as_csv, as_markdown

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("nightmail")
_PLURAL = {"batch": "batches", "file": "files", "folder": "folders"}


@contextmanager
def progress_bar() -> Iterator[Reporter]:
    """A reporter that draws a progress bar on stderr if that is a terminal, and does nothing otherwise. With
    NIGHTMAIL_LOG=json it logs what is noted."""
    if logs_json():
        yield _LogReporter()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield SilentReporter()
        return
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn(
            "{task.fields[detail]}",
            style="dim",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        ),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield _BarReporter(bar)


def say(text: str, level: int = logging.INFO, *, traceback: bool = False) -> None:
    """Tell people something on stderr, as text of a line or more; with NIGHTMAIL_LOG=json a line of the log. With `traceback`
    that of the current exception is shown too."""
    if logs_json():
        _log.log(level, "%s", text.strip().removeprefix("nightmail: "), exc_info=traceback)
        return
    if traceback:
        print_exc()
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()  # whoever reads it may wait for this line, through a pipe


class _LogReporter(SilentReporter):
    """Logs what is noted; in a flow run that has its own log, nothing."""

    def note(self, text: str) -> None:
        if flow_run_context() is None:
            warns = text.startswith("warning: ")
            _log.log(
                logging.WARNING if warns else logging.INFO, "%s", printable(text.removeprefix("warning: "))
            )


class _BarReporter:
    """Draws a line of the progress bar for each phase."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tasks: dict[str, Any] = {}

    def progress(self, progress: Progress) -> None:
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bar.add_task(
                progress.phase, total=progress.total, unit=progress.unit, detail=""
            )
        self._bar.update(
            self._tasks[progress.phase],
            completed=progress.done,
            total=progress.total,
            detail=printable(progress.detail),
            unit=progress.unit,
        )

    def note(self, text: str) -> None:
        self._bar.console.print(printable(text), highlight=False, markup=False)


def show_json(value: Any) -> None:
    """Print JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_as_json) + "\n")


def _as_json(value: Any) -> Any:
    """Serialise what JSON does not know: documents as their JSON, anything else as text."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


class OutputFormat(StrEnum):
    """The machine-readable output formats, by their options."""

    JSON = "--json"
    CSV = "--csv"
    MARKDOWN = "--markdown"
    PROMETHEUS = "--prometheus"


def output_format(
    *, as_json: bool, as_csv: bool, as_markdown: bool = False, as_prometheus: bool = False
) -> OutputFormat | None:
    """The requested format; None for text on a terminal. ConfigError if several are requested."""
    given = (as_json, as_csv, as_markdown, as_prometheus)
    requested_formats = [
        chosen_format for chosen_format, wanted in zip(OutputFormat, given, strict=True) if wanted
    ]
    if len(requested_formats) > 1:
        raise ConfigError(f"{' and '.join(requested_formats)}: give one of them")
    return requested_formats[0] if requested_formats else None


def show_records(
    chosen_format: OutputFormat, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Print rows on stdout in a machine-readable format; CSV and Markdown have these `columns`, JSON has all keys."""
    if chosen_format is OutputFormat.JSON:
        show_json(rows)
        return
    write = as_csv if chosen_format is OutputFormat.CSV else as_markdown
    sys.stdout.write(write(columns, rows))


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    shorten: Sequence[str] = (),
    wrap: str = "",
    drop: Sequence[str] = (),
) -> None:
    """Print a table on stdout; tab-separated lines, with everything, if that is not a terminal.

    Numbers are aligned to the right, and so are the texts of the columns `right`. On a terminal that is too narrow the
    named columns give way, as `table_lines` says; no other is ever cut.
    """
    console = Console()
    if not console.is_terminal:
        for row in (columns, *rows):
            sys.stdout.write("\t".join(_text(value) for value in row) + "\n")
        return
    numbers = [
        name
        for name, value in zip(columns, rows[0] if rows else columns, strict=True)
        if name in right or _is_number(value)
    ]
    cells = [[_text(value, "%Y-%m-%d %H:%M") for value in row] for row in rows]
    lines = table_lines(columns, cells, console.width, right=numbers, shorten=shorten, wrap=wrap, drop=drop)
    sys.stdout.write("\n".join(lines) + "\n")


def show_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows that all have the same keys, as a table or as JSON."""
    if as_json:
        show_json(rows)
    elif rows:
        show_table(
            tuple(rows[0]),
            [list(row.values()) for row in rows],
            shorten=("note", "failure"),
            drop=("report", "cost", "batches"),
        )


def show_preview(frame: pd.DataFrame) -> None:
    """Print rows with their prompts, one line each, shortened to the terminal's width.

    The prompt is the last column, and gets the width that the others leave.
    """
    console = Console()
    lines = [
        [_shorten(value, console.width) for value in row] for row in frame.itertuples(index=False, name=None)
    ]
    if not console.is_terminal:
        show_table(list(frame.columns), lines)
        sys.stdout.write("\n")
        return
    *other_columns, last_column = frame.columns
    table = Table(box=None, pad_edge=False, expand=True)
    for name in other_columns:
        table.add_column(
            name, no_wrap=True, overflow="ellipsis", max_width=console.width // (len(other_columns) + 2)
        )
    table.add_column(last_column, no_wrap=True, overflow="ellipsis", ratio=1)
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table, "")


def show_run(run: Mapping[str, Any]) -> None:
    """Print one run: state, output, chunks, last events."""
    write = sys.stdout.write
    write(
        f"{run['job']} {run['key']} ({run['run']}): {run['state']}, {run['chunks']} chunks, {run['rows']:,} rows\n"
    )
    if run["preparing"]:
        write(f"{run['preparing']}; what is told here is of those alone\n")
    if run["held_by"]:
        write(f"held by {describe_owner(run['held_by'])}\n")
    for name in ("output", "report"):
        if run["receipt"] and (path := getattr(run["receipt"], name)):
            write(f"{name} {path}\n")
    if line := _estimated(run):
        write(f"estimate {line}\n")
    if run["approved_by"]:
        write(f"approved by {printable(run['approved_by'])}\n")
    for state in run["budgets"]:
        write(f"spent of {budget_lines([BudgetState.model_validate(state)])[0]}\n")
    if (
        run["budgets"]
        and run["estimate"]
        and (reserved := reserved_text(Estimate.model_validate(run["estimate"])))
    ):
        write(f"reserved {reserved}\n")
    columns = ("number", "rows", "state", "attempt", "requests", "not_before", "waiting_for")
    show_table(
        columns,
        [[chunk[column] for column in columns] for chunk in run["chunk_list"]],
        shorten=("waiting_for",),
        drop=("requests", "attempt", "not_before"),
    )
    show_table(
        ("time", "event", "chunk", "detail"),
        [
            [_text(event["at"]), event["kind"], event["chunk"], event["detail"]]
            for event in run["history"][-20:]
        ],
        wrap="detail",
        drop=("chunk",),
    )


def _estimated(run: Mapping[str, Any]) -> str:
    """What an unfinished run comes to: as its finished chunks say, before that as its requests were counted."""
    if run["revision"]:
        return revision_text(run["revision"])
    if run["receipt"] or not run["estimate"]:
        return ""
    return f"about {run['estimate']['prompt_tokens']:,} tokens in the prompts"


def show_cleaning(cleaning: Mapping[str, Any], command: str) -> None:
    """Print the leftovers that were removed or would be by `command`: one line each and a total."""
    leftovers = cleaning["leftovers"]
    if not leftovers:
        sys.stdout.write("Nothing was removed.\n" if cleaning["removed"] else "There is nothing to remove.\n")
        return
    columns = ("kind", "id", "name", "run", "reason")
    show_table(
        columns,
        [[item[column] for column in columns] for item in leftovers],
        wrap="reason",
        drop=("name",),
    )
    total = ", ".join(
        f"{count} {kind if count == 1 else _PLURAL[kind]}"
        for kind, count in cleaning["totals"].items()
        if count
    )
    sys.stdout.write(
        f"{total} removed.\n" if cleaning["removed"] else f"{total} to remove; to do it: {command}\n"
    )


def _shorten(value: Any, width: int) -> str:
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _text(value: Any, time_format: str = "%Y-%m-%d %H:%M:%S") -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime(time_format)
    return f"{value:,}" if isinstance(value, int) else printable(str(value))
