"""`nightmail …`: the doors of the house from a terminal. stdout is data, stderr is progress and errors."""

from __future__ import annotations

import datetime
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import CycloptsError, Parameter

from configs.clock import SystemClock
from configs.errors import (
    ConfigError,
    NightmailError,
    TerminalError,
)
from flows.cli import backfill, doctor, show, terminal
from flows.cli.app import (
    ALL_ANSWERED,
    INTERRUPTED,
    NOT_FINISHED,
    ROWS_UNANSWERED,
    USAGE,
    AsJson,
    Day,
    JobFile,
    Key,
    Limit,
    Sets,
    app,
    home,
    prefect_server,
)

__all__ = ["app", "backfill", "doctor", "show", "main"]

_ECHOES = """
These answers are echoes of the embedded service. For real ones:

    export OPENAI_API_KEY=sk-...
    nightmail plan JOB --set provider.name=openai      what it would post, and the price of the prompts
    nightmail run JOB --set provider.name=openai

For your own rows, copy the job file and change source, prompt and output; `nightmail schema` lists every key.
"""


@app.command
def run(
    job: JobFile,
    *,
    date: Day = None,
    key: Key = None,
    limit: Limit = None,
    overrides: Sets = (),
    redo: Annotated[
        bool, Parameter(help="Do a finished run again and replace its output.", negative=())
    ] = False,
    retry: Annotated[
        bool,
        Parameter(
            help="Ask a finished run's unanswered rows again, where that can help; the others are kept.",
            negative=(),
        ),
    ] = False,
    snapshot: Annotated[
        bool,
        Parameter(help="Go on with the rows as they were read, though the source has changed.", negative=()),
    ] = False,
    dry_run: Annotated[bool, Parameter(help="The same as `nightmail plan`.", negative=())] = False,
    as_json: AsJson = False,
) -> int:
    """Run a job, or go on with it: the same job and key is the same run, resumed where it stopped."""
    from flows.enrich import enrich
    from tasks.orchestration.reporters import reporting_to
    from tasks.stages.report.receipt import as_text, retry_line, unanswered

    began = SystemClock().now()
    # Without a Prefect server the flow's function is called directly; every step is then a plain call.
    call: Callable[..., Any] = enrich if prefect_server() else enrich.fn
    with terminal.progress_bar() as reporter, reporting_to(reporter):
        result: dict[str, Any] = call(
            job,
            date=date,
            limit=limit,
            dry_run=dry_run,
            key=key,
            redo=redo,
            retry=retry,
            snapshot=snapshot,
            overrides=list(overrides),
        )
    if as_json:
        terminal.show_json(result)
    elif dry_run:
        terminal.show_plan(result)
    else:
        if datetime.datetime.fromisoformat(result["finished_at"]) < began:
            sys.stderr.write("This run was finished before; nothing was posted. --redo does it again.\n")
        sys.stdout.write(as_text(result) + "\n")
        if more := retry_line(result):
            sys.stderr.write(f"{more}: run the same command with --retry.\n")
        if result["answered_by"] == "echo":
            sys.stderr.write(_ECHOES)
    return ALL_ANSWERED if dry_run or not unanswered(result) else ROWS_UNANSWERED


@app.command
def plan(
    job: JobFile,
    *,
    date: Day = None,
    key: Key = None,
    limit: Limit = None,
    overrides: Sets = (),
    as_json: AsJson = False,
) -> int:
    """Show what a run would do: rows, batches, bytes, price of the prompts, the first prompt. Writes nothing."""
    return run(job, date=date, key=key, limit=limit, overrides=overrides, dry_run=True, as_json=as_json)


@app.command
def render(
    job: JobFile,
    *,
    out: Annotated[Path, Parameter(help="Folder for the files; made if needed, must be empty.")],
    date: Day = None,
    key: Key = None,
    limit: Limit = None,
    overrides: Sets = (),
) -> int:
    """Write the JSONL request files alone, for those who submit them elsewhere."""
    from tasks.prepare import render_files
    from tasks.runs.session import place_order

    order = place_order(job, home(), SystemClock(), day=date, key=key, limit=limit, overrides=overrides)
    with terminal.progress_bar() as reporter:
        written = render_files(order, out, reporter)
    for path in written:
        sys.stdout.write(f"{path}\n")
    return ALL_ANSWERED


@app.command
def cancel(run: Annotated[str, Parameter(help="Run id, or job/key.")]) -> int:
    """Stop paying for a run: cancel its open batches. `nightmail run` goes on with it later."""
    from tasks.cancel import cancel_run

    with terminal.progress_bar() as reporter:
        lines = cancel_run(home(), os.environ, SystemClock(), run, reporter)
    for line in lines:
        sys.stdout.write(line + "\n")
    return ALL_ANSWERED


@app.command
def clean(
    *,
    yes: Annotated[bool, Parameter(help="Remove what is shown without it.", negative=())] = False,
    as_json: AsJson = False,
) -> int:
    """Show what finished and cancelled runs left at the providers and in old run folders; --yes removes it."""
    from tasks.maintenance.cleanup import as_data
    from tasks.maintenance.cleanup import clean as sweep_up

    done = sweep_up(home(), os.environ, SystemClock(), remove=yes)
    if as_json:
        terminal.show_json(as_data(done))
    else:
        terminal.show_cleaning(as_data(done))
        for note in done.notes:
            sys.stderr.write(f"nightmail: {note}\n")
    return ALL_ANSWERED if done.complete else NOT_FINISHED


@app.command
def serve(
    *,
    port: Annotated[int, Parameter(help="Port on 127.0.0.1.")] = 8400,
    folder: Annotated[
        Path | None, Parameter(help="Where it keeps files and batches; below NIGHTMAIL_HOME by default.")
    ] = None,
    upstream: Annotated[
        str | None, Parameter(help="OpenAI-compatible base URL that answers; echoes without it.")
    ] = None,
    concurrency: Annotated[int, Parameter(help="Requests at a time to the upstream.")] = 4,
    api_key_env: Annotated[
        str, Parameter(help="Environment variable with the upstream's key.")
    ] = "NIGHTMAIL_UPSTREAM_KEY",
) -> int:
    """Run the embedded batch service standing, for any client of OpenAI's Files and Batches protocol."""
    from tasks.local_batch.__main__ import main as serve_forever

    where = folder or home().folder / "local-batch" / "standing"
    options = [
        "--folder",
        str(where),
        "--port",
        str(port),
        "--concurrency",
        str(concurrency),
        "--api-key-env",
        api_key_env,
    ]
    return serve_forever([*options, *(["--upstream", upstream] if upstream else [])])


@app.command
def deploy(
    *,
    folder: Annotated[
        Path | None, Parameter(help="Where prefect.yaml and automations.yaml are; deployments/ by default.")
    ] = None,
    dry_run: Annotated[bool, Parameter(help="Only say what would be done.", negative=())] = False,
) -> int:
    """Set the Prefect server up: work pool, deployments, alerts, automations. A second time changes nothing."""
    if not prefect_server():
        raise ConfigError(
            "PREFECT_API_URL: not set; start a server with `prefect server start`, then"
            " export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    from flows.deploy.server import FOLDER
    from flows.deploy.server import deploy as set_up

    for line in set_up((folder or FOLDER).absolute(), os.environ, dry_run=dry_run):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return ALL_ANSWERED


def main(arguments: Sequence[str] | None = None) -> None:
    """Console script: run a command, turn errors into one line and an exit code."""
    # Arrow's own allocator keeps what it freed: a fifth more memory for the same work (tests/bench/prepare.py).
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    debug = "--debug" in words
    sys.exit(_run([word for word in words if word != "--debug"], debug=debug))


def _run(tokens: list[str], *, debug: bool) -> int:
    try:
        result = app(tokens, exit_on_error=False, print_error=True)
        return result if isinstance(result, int) else ALL_ANSWERED
    except CycloptsError:
        return USAGE  # it has printed what is wrong
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; run the same command again to go on.\n")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: not an error
        return ALL_ANSWERED
    except NightmailError as error:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"nightmail: {error}\n")
        return USAGE if isinstance(error, (ConfigError, TerminalError)) else NOT_FINISHED
    except Exception as error:  # noqa: BLE001 - a person gets one line, and the way to more
        if debug:
            traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        sys.stderr.write(
            f"nightmail: unexpected {type(error).__name__}: {said}; --debug shows where. Nothing is lost.\n"
        )
        return NOT_FINISHED


if __name__ == "__main__":
    main()
