"""Commands that the console starts: the same ones that a person would type, and their pages."""

from __future__ import annotations

import re

import pytest

from configs.clock import SystemClock
from flows.cli.run import approve_here
from rigs.command_line import until
from rigs.console import client_of, console_over, form_of
from rigs.workspace import Workspace
from tasks.console.processes import OnThisMachine
from tasks.ledger.listing import BatchSearch
from tasks.ledger.transitions import RunState


def actions_of(workspace: Workspace) -> OnThisMachine:
    return OnThisMachine(workspace.home.folder / "console", SystemClock(), approve_here)


@pytest.mark.slow
def test_a_run_is_started_cancelled_resumed_and_retried_from_its_pages(workspace: Workspace) -> None:
    workspace.faults("row_error:400:t-3,stuck:in_progress*1")
    workspace.write()
    actions = actions_of(workspace)
    console = console_over(workspace.home, workspace.job_file, actions=actions)
    client = client_of(console)
    started = client.post("/jobs/job.yaml", data=form_of(console, key="k"))
    assert started.url.path == "/commands/0"
    until(lambda: any(line.batch.batch_id for line in workspace.ledger.listing.batches(BatchSearch(), 9)))
    run = f"/runs/{workspace.run_id}"
    assert "running" in client.get("/commands/0").text
    client.post(f"{run}/cancel", data=form_of(console))
    until(lambda: actions.commands[1].exit_code is not None)
    assert actions.commands[1].exit_code == 0, actions.commands[1].messages
    assert "is being cancelled" in client.get("/commands/1").text
    until(lambda: actions.commands[0].exit_code is not None)
    assert workspace.ledger.get_run(workspace.run_id).state is RunState.CANCELLED  # type: ignore[union-attr]
    client.post(f"{run}/resume", data=form_of(console))
    until(lambda: actions.commands[2].exit_code is not None)
    assert actions.commands[2].exit_code == 1, actions.commands[2].messages
    assert workspace.statuses() == {"succeeded": 9, "failed": 1}
    page = client.get("/commands/2").text
    assert "ended with exit code 1" in page
    assert re.search(r"nightmail run \S+job.yaml --date \d{4}-\d\d-\d\d --key k", page)


def test_a_command_that_fails_says_why_on_its_page(workspace: Workspace) -> None:
    actions = actions_of(workspace)
    client = client_of(console_over(workspace.home, actions=actions))
    follow = actions._start(["cancel", "<b>none</b>"]).follow
    assert follow == "/commands/0"
    until(lambda: actions.commands[0].exit_code is not None)
    page = client.get(follow).text
    assert "ended with exit code 2" in page
    assert "&lt;b&gt;none&lt;/b&gt;: no such run" in page
    assert (workspace.home.folder / "console").stat().st_mode & 0o077 == 0
    assert actions.commands[0].log.stat().st_mode & 0o077 == 0
