"""The page *Budgets*: what is spent, reserved and left of every budget, and what is in the providers' queues."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from configs.errors import ConfigError
from configs.job import Job
from tasks.console.context import console_of
from tasks.console.render import page
from tasks.ledger.store import Ledger
from tasks.runs.budgets import RUN_BUDGET, BudgetUse, budget_uses

_JOBS = 100


@dataclass(frozen=True)
class BudgetLine:
    """A budget as it stands, and the runs or jobs it holds for."""

    use: BudgetUse
    holds_for: tuple[str, ...]

    @property
    def spent(self) -> float:
        """What is booked."""
        return max(0.0, self.use.state.spent - self.use.promised)

    @property
    def left(self) -> float:
        """What may still be posted; nothing when it is overdrawn."""
        return max(0.0, self.use.state.limit - self.use.state.spent)


def budgets_page(request: Request) -> Response:
    """The budgets of the jobs that have run, by their newest runs, and the queues."""
    console = console_of(request)
    ledger, now = console.ledger, console.clock.now()
    lines, problems = _budget_lines(ledger, now) if ledger else ([], [])
    queues = ledger.listing.queues(now) if ledger else ()
    return page(request, "budgets", lines=lines, problems=problems, queues=queues)


def _budget_lines(ledger: Ledger, now: datetime) -> tuple[list[BudgetLine], list[str]]:
    """One line for a budget that several jobs share; and why those of a job cannot be shown."""
    found: dict[BudgetUse, list[str]] = {}
    problems: list[str] = []
    for run in ledger.listing.newest_runs_by_job(_JOBS):
        try:
            job = Job.model_validate(run.spec)
            for use in budget_uses(job, ledger, run.id, now):
                found.setdefault(use, []).append(run.title if use.state.name == RUN_BUDGET else run.job)
        except (ConfigError, ValidationError) as error:
            problems.append(f"{run.job}: {' '.join(str(error).split())[:300]}")
    return [BudgetLine(use, tuple(names)) for use, names in found.items()], problems
