"""The commands that only read: a batch file, the ledger, the schemas of published files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from configs.errors import ConfigError
from configs.providers import bare
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, USAGE, AsJson, app, home


@app.command
def check(
    file: Annotated[Path, Parameter(help="A JSONL batch file.")],
    *,
    provider: Annotated[
        Literal["local", "openai", "alibaba", "azure"],
        Parameter(name=["--provider", "-p"], help="Whose rules."),
    ] = "openai",
    as_json: AsJson = False,
) -> int:
    """Check any JSONL batch file against a provider's rules, naming the lines at fault."""
    from dataclasses import asdict

    from tasks.providers.registry import limits
    from tasks.stages.validate import check_lines, read_lines

    config = bare(provider)
    accepted = limits(config)
    rules: dict[str, Any] = {
        "max_requests": accepted.max_requests,
        "max_bytes": accepted.enforced_bytes or accepted.max_bytes,
        "max_line_bytes": accepted.max_line_bytes,
        "uniform": accepted.uniform,
        **({"endpoints": {*config.endpoints, *(config.free_trial or ())[1:]}} if config.endpoints else {}),
    }
    try:
        with file.open("rb") as stream:
            lines = read_lines(stream, rules["max_bytes"])
            problems = list(check_lines(lines, endpoint=None, **rules))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; give the path of a JSONL file") from error
    if as_json:
        terminal.show_json([asdict(problem) for problem in problems])
        return USAGE if problems else ALL_ANSWERED
    for problem in problems:
        where = f"line {problem.line}" if problem.line else "file"
        sys.stdout.write(f"{file}: {where}: {problem.code}: {problem.message}\n")
    if not problems:
        sys.stdout.write(f"{file}: fit for {provider}\n")
    return USAGE if problems else ALL_ANSWERED


@app.command
def status(
    run: Annotated[str | None, Parameter(help="Run id, or job/key; without it, the latest runs.")] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Show the latest runs, or one run with its chunks, batches and history."""
    from tasks.runs.queries import describe_run, list_runs

    if run is None:
        rows = list_runs(home())
        if as_json:
            terminal.show_json(rows)
        else:
            columns = ("run", "job", "key", "state", "rows", "answered", "chunks", "since", "waiting for")
            terminal.show_table(columns, [[row[c.replace(" ", "_")] for c in columns] for row in rows])
        return ALL_ANSWERED
    found = describe_run(home(), run)
    if as_json:
        terminal.show_json(found)
    else:
        terminal.show_run(found)
    return ALL_ANSWERED


@app.command
def batches(
    *,
    search: Annotated[str, Parameter(help="Only batches with this text in any column.")] = "",
    as_json: AsJson = False,
) -> int:
    """List the batches posted, newest first: who they are at the provider and what they cost."""
    from tasks.runs.queries import list_batches

    rows = list_batches(home(), search)
    if as_json:
        terminal.show_json(rows)
        return ALL_ANSWERED
    columns = (
        "batch",
        "run",
        "chunk",
        "attempt",
        "status",
        "requests",
        "completed",
        "failed",
        "posted",
        "ended",
        "cost",
        "error",
    )
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
