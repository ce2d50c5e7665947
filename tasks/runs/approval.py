"""Whether a run has to wait for a person before it posts, because of its price."""

from __future__ import annotations

from tasks.runs.session import Run
from tasks.stages.cost.budget import amount_text
from tasks.stages.report.estimate import Estimate


def missing_approval(run: Run) -> str | None:
    """Why the run may not post yet, in a line; None when nobody has to be asked, or somebody has agreed."""
    limit = run.job.budget.approve_above_usd
    if limit is None:
        return None
    record = run.ledger.read_run()  # somebody may have approved it meanwhile
    high = Estimate.model_validate(record.estimate).total_usd.high if record.estimate else None
    if record.approved_at is not None or (high is not None and high <= limit):
        return None
    price = f"up to {amount_text(high, usd=True)}" if high is not None else "an unknown sum"
    return (
        f"waits for approval: it may cost {price}, more than budget.approve_above_usd ({amount_text(limit, usd=True)});"
        f" nightmail approve {record.job}/{record.key}, or the deployment `approve` in the Prefect UI"
    )
