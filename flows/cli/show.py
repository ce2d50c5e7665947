"""The commands that only read: check, status, batches, schema."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from configs.errors import ConfigError
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, USAGE, AsCsv, AsJson, AsMarkdown, app, home

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
        sys.stderr.write(f"nightmail: {line}\n")


@app.command
def batches(
    *,
    search: Annotated[str, Parameter(help="Only batches with this text in any column.")] = "",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> int:
    """List posted batches, newest first: ids at the provider, status and cost."""
    from tasks.runs.queries import BATCH_COLUMNS, list_batches

    chosen_format = terminal.output_format(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    rows = list_batches(home(), search)
    if chosen_format:
        terminal.show_records(chosen_format, BATCH_COLUMNS, rows)
        return ALL_ANSWERED
    columns = BATCH_COLUMNS[: BATCH_COLUMNS.index("error") + 1]  # what fits a terminal
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
        Literal["job", "receipt", "plan"],
        Parameter(help="Which schema: of job files, receipts or plans."),
    ] = "job",
) -> int:
    """Print the JSON Schema of job files, for completion in editors; or that of receipts or plans."""
    from configs.load import job_schema
    from tasks.stages.report.plan import Plan
    from tasks.stages.report.receipt import Receipt

    schemas = {"job": job_schema, "receipt": Receipt.json_schema, "plan": Plan.json_schema}
    terminal.show_json(schemas[kind]())
    return ALL_ANSWERED
