"""How runs look on a terminal: a progress bar on stderr, tables on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table
from rich.text import Text

from configs.errors import ConfigError
from configs.progress import Progress, Reporter, Silent
from tasks.ledger.leases import describe_owner
from tasks.stages.report.tables import as_csv, as_markdown

if TYPE_CHECKING:
    import pandas as pd

_PLURAL = {"batch": "batches", "file": "files", "folder": "folders"}


@contextmanager
def progress_bar() -> Iterator[Reporter]:
    """A bar on stderr when that is a terminal, nothing otherwise."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Silent()
        return
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("[dim]{task.fields[detail]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield _BarReporter(bar)


class _BarReporter:
    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tasks: dict[str, Any] = {}

    def progress(self, now: Progress) -> None:
        if now.phase not in self._tasks:
            self._tasks[now.phase] = self._bar.add_task(now.phase, total=now.total, unit=now.unit, detail="")
        self._bar.update(
            self._tasks[now.phase], completed=now.done, total=now.total, detail=now.detail, unit=now.unit
        )

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False)


def show_json(value: Any) -> None:
    """Data on stdout, for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_as_json) + "\n")


def _as_json(value: Any) -> Any:
    """A document as its JSON, anything else that JSON does not know as its text."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


class OutputFormat(StrEnum):
    """An output format for programs and pages, by the option that asks for it."""

    JSON = "--json"
    CSV = "--csv"
    MARKDOWN = "--markdown"


def output_format(*, as_json: bool, as_csv: bool, as_markdown: bool) -> OutputFormat | None:
    """The format asked for; None for a person's terminal. ConfigError when several are."""
    asked = [
        chosen for chosen, given in zip(OutputFormat, (as_json, as_csv, as_markdown), strict=True) if given
    ]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)}: give one of them")
    return asked[0] if asked else None


def show_records(chosen: OutputFormat, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Mappings on stdout in a format for others; `columns` are those of CSV and Markdown, JSON has all keys."""
    if chosen is OutputFormat.JSON:
        show_json(rows)
        return
    write = as_csv if chosen is OutputFormat.CSV else as_markdown
    sys.stdout.write(write(columns, rows))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """A table on stdout; plain tab-separated lines when that is not a terminal."""
    console = Console()
    if not console.is_terminal:
        for row in (columns, *rows):
            sys.stdout.write("\t".join(_text(value) for value in row) + "\n")
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name, sample in zip(columns, rows[0] if rows else columns, strict=True):
        table.add_column(
            name, justify="right" if isinstance(sample, (int, float)) else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    console.print(table)


def show_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """A table of mappings that all have the same keys."""
    if as_json:
        show_json(rows)
    elif rows:
        show_table(tuple(rows[0]), [list(row.values()) for row in rows])


def show_preview(frame: pd.DataFrame) -> None:
    """Rows with their prompts, the last column, which gets the room that the others leave; a line each, cut to the width."""
    console = Console()
    lines = [
        [_cut(value, console.width) for value in row] for row in frame.itertuples(index=False, name=None)
    ]
    if not console.is_terminal:
        show_table(list(frame.columns), lines)
        sys.stdout.write("\n")
        return
    *others, last = frame.columns
    table = Table(box=None, pad_edge=False, expand=True)
    for name in others:
        table.add_column(
            name, no_wrap=True, overflow="ellipsis", max_width=console.width // (len(others) + 2)
        )
    table.add_column(last, no_wrap=True, overflow="ellipsis", ratio=1)
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table, "")


def show_run(run: Mapping[str, Any]) -> None:
    """One run: where it is, its chunks, its last events."""
    out = sys.stdout.write
    out(
        f"{run['job']} {run['key']} ({run['run']}): {run['state']}, {run['chunks']} chunks, {run['rows']:,} rows\n"
    )
    if run["held_by"]:
        out(f"held by {describe_owner(run['held_by'])}\n")
    for name in ("output", "report"):
        if run["receipt"] and (path := getattr(run["receipt"], name)):
            out(f"{name} {path}\n")
    columns = ("number", "rows", "state", "attempt", "requests", "not_before", "waiting_for")
    show_table(columns, [[chunk[column] for column in columns] for chunk in run["chunk_list"]])
    show_table(
        ("at", "kind", "chunk", "what"),
        [[e["at"], e["kind"], e["chunk"], e["detail"]] for e in run["history"][-20:]],
    )


def show_cleaning(cleaning: Mapping[str, Any]) -> None:
    """What is left behind, or was removed: a line each and a total."""
    found = cleaning["leftovers"]
    if not found:
        sys.stdout.write("Nothing was removed.\n" if cleaning["removed"] else "There is nothing to remove.\n")
        return
    columns = ("kind", "id", "name", "run", "reason")
    show_table(columns, [[item[column] for column in columns] for item in found])
    total = ", ".join(
        f"{count} {kind if count == 1 else _PLURAL[kind]}"
        for kind, count in cleaning["totals"].items()
        if count
    )
    sys.stdout.write(
        f"{total} removed.\n"
        if cleaning["removed"]
        else f"{total} to remove; to do it: nightmail clean --yes\n"
    )


def _cut(value: Any, width: int) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,}" if isinstance(value, int) else str(value)
