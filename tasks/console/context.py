"""What the pages of one console share: where they read, and what they may do."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request

from configs.clock import Clock
from configs.errors import ConfigError, NightmailError, StorageError
from configs.home import Home
from configs.request import RunRequest
from tasks.console.outcomes import Done, Outcomes
from tasks.ledger import database
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger
from tasks.runs.queries import find_run, ledger_to_read
from tasks.stages.report.plan import Plan
from tasks.storage.run_folder import RunFolder, join
from tasks.webhooks.receiver import Receiver

ACTIONS_OFF = "actions are off; start it with `nightmail console --allow-actions`"


class Actions(Protocol):
    """What a person may do from the console. `how` says in a sentence who does the work."""

    how: str

    def run(self, request: RunRequest) -> Done:
        """Start a run, or go on with it."""

    def cancel(self, run: RunRecord) -> Done:
        """Cancel a run's open batches."""

    def approve(self, run: RunRecord) -> Done:
        """Let a run post although its price is high."""


@dataclass(frozen=True)
class Console:
    """One console: its places, its clock, its job files by name, its actions (None: it only shows), and what takes providers'
    webhooks (None: nothing does).

    `token` is in every form of this process: a page of another origin cannot read it, so it cannot post one.
    """

    home: Home
    clock: Clock
    find_jobs: Callable[[], list[str]]
    plan: Callable[[RunRequest], Plan]
    actions: Actions | None = None
    webhooks: Receiver | None = None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    outcomes: Outcomes = field(default_factory=Outcomes, repr=False)
    _opened: list[Ledger] = field(default_factory=list, repr=False)

    @property
    def ledger(self) -> Ledger | None:
        """The ledger; None before its first run, and while it has the schema of another version. StorageError while it is away."""
        try:
            if not self._opened and (ledger := ledger_to_read(self.home)) is not None:
                self._opened.append(ledger)  # its schema is looked at once
            return self._opened[0] if self._opened and database.exists(self.home.ledger_url) else None
        except ConfigError as error:  # at a command line; whoever asks for a page has asked for nothing wrong
            raise StorageError(str(error)) from error

    @property
    def has_other_schema(self) -> bool:
        """Whether there is a ledger that this version does not read; False also while nobody can say."""
        try:
            return self.ledger is None and database.exists(self.home.ledger_url)
        except NightmailError:  # the page says what is wrong
            return False

    @property
    def jobs(self) -> dict[str, str]:
        """The paths of the job files by their names."""
        return {Path(path).name: path for path in self.find_jobs()}

    def job_path(self, name: str) -> str:
        """The path of a job file by its name; ConfigError for one that is not among them."""
        path = self.jobs.get(name)
        if path is None:
            raise ConfigError(f"{name}: no such job file; the page Jobs lists them")
        return path

    def run(self, run_id: str) -> tuple[Ledger, RunRecord]:
        """The run with that id, or of that `job/key`, and the ledger it is in; ConfigError when there is none."""
        ledger = self.ledger
        record = find_run(ledger, run_id)
        assert ledger is not None
        return ledger, record

    def folder(self, run: RunRecord) -> RunFolder:
        """The run's folder, to read from."""
        return RunFolder(join(self.home.runs_url, run.folder))


def console_of(request: Request) -> Console:
    """The console that answers the request."""
    console: Console = request.app.state.console
    return console


def needs_actions(console: Console) -> Actions:
    """The console's actions; the answer is 403 when it has none."""
    if console.actions is None:
        raise HTTPException(403, ACTIONS_OFF)
    return console.actions
