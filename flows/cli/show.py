"""The commands that only read: a batch file, the ledger, the schemas of published files."""

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
        str, Parameter(name=["--provider", "-p"], help="Whose rules; a provider whose lines are OpenAI's.")
    ] = "openai",
    as_json: AsJson = False,
) -> int:
    """Check any JSONL batch file against a provider's rules, naming the lines at fault."""
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
    """What the provider would refuse in the file."""
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

    chosen = terminal.output_format(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    if run is None:
        rows = list_runs(home())
        if chosen:
            terminal.show_records(chosen, RUN_COLUMNS, rows)
        else:
            columns = ("run", "job", "key", "state", "rows", "answered", "chunks", "since", "waiting for")
            terminal.show_table(columns, [[row[c.replace(" ", "_")] for c in columns] for row in rows])
        return ALL_ANSWERED
    found = describe_run(home(), run)
    if as_json:
        terminal.show_json(found)
    elif chosen:
        terminal.show_records(chosen, CHUNK_COLUMNS, found["chunk_list"])
    else:
        terminal.show_run(found)
    return ALL_ANSWERED


@app.command
def batches(
    *,
    search: Annotated[str, Parameter(help="Only batches with this text in any column.")] = "",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> int:
    """List the batches posted, newest first: who they are at the provider and what they cost."""
    from tasks.runs.queries import BATCH_COLUMNS, list_batches

    chosen = terminal.output_format(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    rows = list_batches(home(), search)
    if chosen:
        terminal.show_records(chosen, BATCH_COLUMNS, rows)
        return ALL_ANSWERED
    columns = BATCH_COLUMNS[: BATCH_COLUMNS.index("error") + 1]  # what fits a terminal
    terminal.show_table(columns, [[row[column] for column in columns] for row in rows])
    return ALL_ANSWERED


@app.command
def schema(
    kind: Annotated[
        Literal["job", "receipt", "plan"],
        Parameter(help="Of which file or output: job, receipt or plan."),
    ] = "job",
) -> int:
    """Print the JSON Schema of job files, so that editors complete them; or that of a receipt or a plan."""
    from configs.load import job_schema
    from tasks.stages.report.plan import Plan
    from tasks.stages.report.receipt import Receipt

    schemas = {"job": job_schema, "receipt": Receipt.json_schema, "plan": Plan.json_schema}
    terminal.show_json(schemas[kind]())
    return ALL_ANSWERED
