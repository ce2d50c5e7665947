"""The commands for operations: deploy, sweep, clean, backup, restore, serve."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from configs.clock import SystemClock
from configs.errors import ConfigError
from configs.foreign_text import fit_to_show
from configs.frozen import seconds
from flows.cli import terminal
from flows.cli.app import (
    ALL_ANSWERED,
    NOT_FINISHED,
    AsJson,
    app,
    ended_by_sigterm,
    flow_runs,
    home,
    prefect_server,
)


@app.command
def deploy(
    *,
    folder: Annotated[
        Path | None, Parameter(help="Where prefect.yaml and automations.yaml are; deployments/ by default.")
    ] = None,
    dry_run: Annotated[bool, Parameter(help="Only show what would be done.", negative=())] = False,
) -> int:
    """Set up the Prefect server: work pool, deployments, alerts, automations. Running it twice changes nothing."""
    if not prefect_server():
        raise ConfigError(
            "PREFECT_API_URL: not set; start a server with `prefect server start`, then"
            " export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    from flows.deploy.files import FOLDER
    from flows.deploy.server import deploy as deploy_to_server

    for line in deploy_to_server((folder or FOLDER).absolute(), os.environ, dry_run=dry_run):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return ALL_ANSWERED


@app.command
def sweep(
    *,
    every: Annotated[
        str | None, Parameter(help="Do it again and again, such as 10m, until SIGTERM or Ctrl-C.")
    ] = None,
) -> int:
    """Revive runs that lost their process, and delete files at the providers that no run needs."""
    if every is None:
        _sweep_once()
        return ALL_ANSWERED
    interval = _interval(every)
    with ended_by_sigterm() as stop:
        try:
            while not stop.is_set():
                _sweep_and_go_on()
                SystemClock().sleep(interval)
        except KeyboardInterrupt:
            if not stop.is_set():
                raise
    return ALL_ANSWERED


def _interval(every: str) -> float:
    if not re.fullmatch(r"[1-9][0-9]{0,5}[smhd]", every):
        raise ConfigError(f"--every: {every!r} is no duration; write it like 90s, 10m or 1h")
    return seconds(every)


def _sweep_and_go_on() -> None:
    """A sweep of many: whatever kept this one from its end, the next looks again."""
    try:
        _sweep_once()
    except Exception as error:  # noqa: BLE001 - a server or a database that is away comes back
        said = fit_to_show(" ".join(str(error).split()))[:300]
        terminal.say(
            f"nightmail: this sweep broke off ({type(error).__name__}: {said}); the next looks again",
            logging.WARNING,
        )


def _sweep_once() -> None:
    from tasks.maintenance.sweep import sweep_up
    from tasks.orchestration.blocks import load_home

    with flow_runs(on_server=prefect_server()) as others:
        result = sweep_up(load_home(os.environ), os.environ, SystemClock(), others)
    for line in result.done:
        sys.stdout.write(line + "\n")
    for line in result.noted:
        terminal.say(f"nightmail: {line}")
    sys.stdout.flush()


@app.command
def clean(
    *,
    yes: Annotated[
        bool, Parameter(help="Remove what is listed; without it, nothing is removed.", negative=())
    ] = False,
    forget: Annotated[
        str | None,
        Parameter(
            help="Instead: erase the folders of all runs of the job of this name, with their rows and answers, and where"
            " its answers are found again. Outputs stay."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show what finished and cancelled runs left at the providers and in old run folders; --yes removes it."""
    from tasks.maintenance.cleanup import as_data
    from tasks.maintenance.cleanup import clean as clean_up
    from tasks.maintenance.forget import forget as forget_job
    from tasks.orchestration.blocks import load_home

    places, clock = load_home(os.environ), SystemClock()
    if forget is None:
        cleaning = clean_up(places, os.environ, clock, remove=yes)
    else:
        cleaning = forget_job(places, clock, forget, remove=yes)
    if as_json:
        terminal.show_json(as_data(cleaning))
    else:
        what = f" --forget {forget}" if forget else ""
        terminal.show_cleaning(as_data(cleaning), f"nightmail clean{what} --yes")
        for note in cleaning.notes:
            terminal.say(f"nightmail: {note}")
    return ALL_ANSWERED if cleaning.complete else NOT_FINISHED


@app.command
def backup(
    folder: Annotated[Path, Parameter(name="DIR", help="A folder, made if it is not there.")], /
) -> int:
    """Write what the ledger holds at this moment to DIR/ledger.db, also while runs work. Run folders are not in it."""
    from tasks.maintenance.backup import NAME, back_up

    places = home()
    runs = back_up(places, folder)
    sys.stdout.write(f"{folder / NAME}: {runs:,} {'run' if runs == 1 else 'runs'}\n")
    terminal.say(f"nightmail: not in it: the run folders, {places.runs_url}; see deployments/README.md")
    return ALL_ANSWERED


@app.command
def restore(
    folder: Annotated[Path, Parameter(name="DIR", help="The folder that `backup` was given.")], /
) -> int:
    """Put a backup into the ledger, which must have no runs; then start the runs again that are named."""
    from tasks.maintenance.backup import restore as restore_from
    from tasks.orchestration.blocks import load_home

    restored = restore_from(load_home(os.environ), folder, SystemClock())
    sys.stdout.write(f"{restored.runs:,} {'run' if restored.runs == 1 else 'runs'} restored\n")
    for title in restored.unfinished:
        sys.stdout.write(f"not finished: {title}\n")
    for note in restored.unknown:
        terminal.say(f"nightmail: {note}", logging.WARNING)
    return ALL_ANSWERED


@app.command
def serve(
    *,
    port: Annotated[int, Parameter(help="Port on 127.0.0.1.")] = 8400,
    folder: Annotated[
        Path | None, Parameter(help="Folder for its files and batches; below NIGHTMAIL_HOME by default.")
    ] = None,
    upstream: Annotated[
        str | None, Parameter(help="OpenAI-compatible base URL that answers; echoes without it.")
    ] = None,
    concurrency: Annotated[int, Parameter(help="Requests at a time to the upstream.")] = 4,
    api_key_env: Annotated[
        str, Parameter(help="Environment variable with the upstream's key.")
    ] = "NIGHTMAIL_UPSTREAM_KEY",
) -> int:
    """Run the embedded batch service as a server, for any client of OpenAI's Files and Batches protocol."""
    from tasks.local_batch.__main__ import main as serve_forever

    service_folder = folder or home().folder / "local-batch" / "standing"
    options = [
        "--folder",
        str(service_folder),
        "--port",
        str(port),
        "--concurrency",
        str(concurrency),
        "--api-key-env",
        api_key_env,
    ]
    return serve_forever([*options, *(["--upstream", upstream] if upstream else [])])
