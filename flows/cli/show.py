"""The commands that only read: check, status, rows, batches, schema."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from configs.errors import ConfigError
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, NOT_FINISHED, USAGE, AsCsv, AsJson, AsMarkdown, app, home
from tasks.stages.row_status import RowStatus

if TYPE_CHECKING:
    from tasks.stages.validate import Problem


@app.command
def check(
    file: Annotated[Path, Parameter(help="A JSONL batch file.")],
    *,
    provider: Annotated[
        str,
        Parameter(
            name=["--provider", "-p"], help="Provider whose rules apply; one with OpenAI's line format."
        ),
    ] = "openai",
    as_json: AsJson = False,
) -> int:
    """Check any JSONL batch file against a provider's rules, naming the faulty lines."""
    from dataclasses import asdict

    problems = _problems(file, provider)
    if as_json:
        terminal.show_json([asdict(problem) for problem in problems])
        return USAGE if problems else ALL_ANSWERED
    for problem in problems:
        where = f"line {problem.line}" if problem.line else "file"
        sys.stdout.write(f"{file}: {where}: {problem.code}: {problem.message}\n")
    if not problems:
        sys.stdout.write(f"{file}: fit for {provider}\n")
    return USAGE if problems else ALL_ANSWERED


def _problems(file: Path, provider: str) -> list[Problem]:
    """The problems for which the provider would refuse the file."""
    from configs.providers.registry import provider_class
    from tasks.stages.validate import REQUIRED_BY_ENDPOINT, check_lines, read_lines
    from tasks.stages.wire.openai.refusals import refusals

    service = provider_class(provider, dialect="openai")
    trial_endpoints = [service.free_trial.endpoint] if service.free_trial else []
    max_bytes = service.limits.enforced_bytes or service.limits.max_bytes
    try:
        with file.open("rb") as stream:
            problems = check_lines(
                read_lines(stream, max_bytes),
                endpoint=None,
                max_requests=service.limits.max_requests,
                max_bytes=max_bytes,
                max_line_bytes=service.limits.max_line_bytes,
                endpoints={*(service.endpoints or REQUIRED_BY_ENDPOINT), *trial_endpoints},
                uniform=service.limits.uniform,
                body_rules=refusals,
            )
            return list(problems)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; give the path of a JSONL file") from error


@app.command
def status(
    run: Annotated[str | None, Parameter(help="Run id, or job/key; without it, the latest runs.")] = None,
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> int:
    """Show the latest runs, or one run with its chunks, batches and history."""
    from tasks.runs.queries import CHUNK_COLUMNS, RUN_COLUMNS, describe_run, list_runs

    chosen_format = terminal.output_format(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    if run is None:
        rows = list_runs(home())
        if chosen_format:
            terminal.show_records(chosen_format, RUN_COLUMNS, rows)
        else:
            columns = ("run", "job", "key", "state", "rows", "answered", "chunks", "since", "waiting for")
            terminal.show_table(
                columns,
                [[row[c.replace(" ", "_")] for c in columns] for row in rows],
                shorten=("waiting for",),
                drop=("answered", "chunks", "since", "waiting for", "run"),
            )
        _say_when_swept()
        return ALL_ANSWERED
    run_data = describe_run(home(), run)
    if as_json:
        terminal.show_json(run_data)
    elif chosen_format:
        terminal.show_records(chosen_format, CHUNK_COLUMNS, run_data["chunk_list"])
    else:
        terminal.show_run(run_data)
    return ALL_ANSWERED


def _say_when_swept() -> None:
    """On stderr: the list on stdout is data."""
    from configs.clock import SystemClock
    from tasks.maintenance.sweep_age import describe_last_sweep

    if line := describe_last_sweep(home(), SystemClock()):
        terminal.say(f"nightmail: {line}")


@app.command
def rows(
    run: Annotated[str, Parameter(help="Run id, or job/key.")],
    *,
    statuses: Annotated[
        tuple[RowStatus, ...],
        Parameter(name="--status", help="Only rows of this status; may be given several times.", negative=()),
    ] = (),
    as_csv: Annotated[bool, Parameter(name="--csv", help="CSV instead, with a header.", negative=())] = False,
) -> int:
    """Print a run's rows with all columns of its output, as JSON Lines; --status failed prints only those that failed."""
    from tasks.orchestration.blocks import load_home
    from tasks.runs.run_rows import run_rows
    from tasks.stages.report.row_lines import csv_header, csv_lines, json_lines

    found = run_rows(load_home(os.environ), run, statuses)
    if found.so_far is not None:
        terminal.say(f"nightmail: {found.so_far}")
    out = sys.stdout.buffer  # UTF-8, whatever the terminal's encoding is
    if as_csv and found.columns:
        out.write(csv_header(found.columns))
    for batch in found.batches:
        out.write(csv_lines(batch) if as_csv else json_lines(batch))
    out.flush()
    return ALL_ANSWERED if found.so_far is None else NOT_FINISHED


@app.command
def batches(
    *,
    search: Annotated[
        str,
        Parameter(
            help="Only batches with this text in an id, job/key, account, model, lane, status or error."
        ),
    ] = "",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> int:
    """List posted batches, newest first: ids at the provider, status and cost."""
    from tasks.runs.queries import BATCH_COLUMNS, list_batches

    chosen_format = terminal.output_format(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    rows, found = list_batches(home(), search)
    if found > len(rows):
        terminal.say(
            f"nightmail: the newest {len(rows):,} of {found:,} batches; --search TEXT finds older ones"
        )
    if chosen_format:
        terminal.show_records(chosen_format, BATCH_COLUMNS, rows)
        return ALL_ANSWERED
    columns = BATCH_COLUMNS[: BATCH_COLUMNS.index("error") + 1]  # what fits a terminal
    if any(row["lane"] for row in rows):
        columns += ("lane",)
    terminal.show_table(
        columns,
        [[row[column] for column in columns] for row in rows],
        shorten=("error",),
        drop=(
            "attempt",
            "chunk",
            "failed",
            "ended",
            "completed",
            "requests",
            "posted",
            "cost",
            "error",
            "status",
            "run",
        ),
    )
    return ALL_ANSWERED


@app.command
def schema(
    kind: Annotated[
        Literal["job", "receipt", "plan", "stats"],
        Parameter(help="Which schema: of job files, receipts, plans or statistics."),
    ] = "job",
) -> int:
    """Print the JSON Schema of job files, for completion in editors; or that of receipts, plans or statistics."""
    from configs.load import job_schema
    from tasks.stages.report.plan import Plan
    from tasks.stages.report.receipt import Receipt
    from tasks.usage.document import Usage

    schemas = {
        "job": job_schema,
        "receipt": Receipt.json_schema,
        "plan": Plan.json_schema,
        "stats": Usage.json_schema,
    }
    terminal.show_json(schemas[kind]())
    return ALL_ANSWERED
