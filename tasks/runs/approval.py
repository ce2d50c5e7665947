"""Whether a run has to wait for a person before it posts, because of its price."""

from __future__ import annotations

from configs.budgets import Budget
from tasks.runs.session import Run
from tasks.stages.cost.budget import amount_text
from tasks.stages.report.estimate import Estimate


def missing_approval(run: Run) -> str | None:
    """Why the run may not post yet, in a line; None when nobody has to be asked, or somebody has agreed."""
    if run.job.budget.approve_above_usd is None:
        return None
    record = run.ledger.read_run()  # somebody may have approved it meanwhile
    reason = too_dear(run.job.budget, run.estimate)
    if reason is None or record.approved_at is not None:
        return None
    return (
        f"waits for approval: {reason}; nightmail approve {record.job}/{record.key}, or in the Prefect UI Resume or the"
        " deployment `approve`"
    )


def too_dear(budget: Budget, estimated: Estimate | None) -> str | None:
    """Why somebody has to approve a run of that estimate; None when nobody has to."""
    limit = budget.approve_above_usd
    most = _most_usd(estimated) if estimated else None
    if limit is None or (most is not None and most <= limit):
        return None
    price = f"up to {amount_text(most, usd=True)}" if most is not None else "an unknown sum"
    return f"it may cost {price}, more than budget.approve_above_usd ({amount_text(limit, usd=True)})"


def _most_usd(estimated: Estimate) -> float | None:
    """By the limit of its answers; where the job sets none, by how long earlier ones were."""
    return estimated.reserved_usd if estimated.most_usd is None else estimated.most_usd
