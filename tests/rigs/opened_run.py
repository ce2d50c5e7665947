"""A run that a test takes along by itself, wake by wake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from configs.clock import SystemClock
from configs.progress import SilentReporter
from configs.request import RunRequest
from rigs.workspace import Workspace
from tasks.prepare import prepare
from tasks.providers.registry import connect
from tasks.runs.opening import open_run
from tasks.runs.request import resolve_request
from tasks.runs.session import Run


@contextmanager
def opened(workspace: Workspace) -> Iterator[Run]:
    """The workspace's run, prepared, its lease held."""
    clock = SystemClock()
    resolved = resolve_request(RunRequest(workspace.write(), key="k"), workspace.home, clock)
    service = connect(resolved.job.provider, workspace.home, os.environ)
    with open_run(resolved, service, workspace.home, clock) as run:
        prepare(run, SilentReporter())
        yield run
