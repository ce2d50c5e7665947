"""The command `console`: serve the web console on this machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from configs.clock import SystemClock
from configs.home import JOBS_VARIABLE, Home
from configs.request import RunRequest
from flows.cli.app import ALL_ANSWERED, app, prefect_server
from flows.cli.run import approve_here
from flows.cli.webhooks import receiver_for

if TYPE_CHECKING:
    from tasks.console.context import Actions
    from tasks.stages.report.plan import Plan


@app.command
def console(
    *,
    port: Annotated[
        int, Parameter(help="Port; 0 for any free one.", validator=validators.Number(gte=0, lte=65535))
    ] = 8500,
    host: Annotated[str, Parameter(help="Address to listen on, of this machine alone.")] = "127.0.0.1",
    allow_actions: Annotated[
        bool, Parameter(help="Let its pages cancel, resume, retry, approve and start runs.", negative=())
    ] = False,
    jobs: Annotated[
        str | None,
        Parameter(help="Folder or URL with the job files that it shows; NIGHTMAIL_JOBS_URL by default."),
    ] = None,
) -> int:
    """Show runs, batches, jobs and budgets as web pages on this machine; without --allow-actions it changes nothing."""
    from tasks.console.context import Console
    from tasks.console.server import listen, serve
    from tasks.orchestration.blocks import load_home
    from tasks.storage.job_files import list_job_files
    from tasks.webhooks.server import address_of

    home = load_home(os.environ)
    jobs_url = home.jobs_url if jobs is None else jobs
    list_job_files(jobs_url, JOBS_VARIABLE if jobs is None else "--jobs")  # or what is wrong with it, at once
    listener = listen(host, port)
    made = Console(
        home=home,
        clock=SystemClock(),
        find_jobs=lambda: list_job_files(jobs_url),
        plan=lambda request: plan_of(request, home),
        actions=_actions(home) if allow_actions else None,
        webhooks=receiver_for(home),
    )
    sys.stdout.write(f"{address_of(listener)}/\n")
    sys.stdout.flush()  # whoever started it may wait for this line, through a pipe
    serve(made, listener)
    return ALL_ANSWERED


def plan_of(request: RunRequest, home: Home) -> Plan:
    """What `nightmail plan` would show; writes and posts nothing."""
    from configs.progress import SilentReporter
    from tasks.prepare import plan
    from tasks.runs.request import resolve_request

    return plan(resolve_request(request, home, SystemClock()), home, SilentReporter())


def _actions(home: Home) -> Actions:
    """Where a Prefect server is configured its workers do the work, else processes of this machine."""
    if prefect_server():
        from tasks.console.flow_runs import OnPrefect

        return OnPrefect(approve_here)
    from tasks.console.processes import OnThisMachine

    return OnThisMachine(home.folder / "console", SystemClock(), approve_here)
