"""How much of a budget is gone, in receipts and plans."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from configs.foreign_text import printable
from tasks.stages.cost.budget import amount_text
from tasks.stages.report.document import Document


class BudgetState(Document):
    """A budget that holds for the run's batches, as it stood when the document was written."""

    name: str = Field(description="Key in the job file, or name in configs/budgets.yaml.")
    unit: str = Field(description="`usd` or `tokens`.")
    limit: float = Field(description="The budget.")
    spent: float = Field(
        description="What its batches have cost, and what those in flight may; in the same unit."
    )
    until: datetime | None = Field(
        None, description="When its next window begins; null for a run's own and for those that roll."
    )


def budget_lines(states: Sequence[BudgetState]) -> list[str]:
    """`budget.day_usd: $1.20 of $5.00 until 2026-11-23 00:00 UTC`, one for each."""
    return [_line(state) for state in states]


def _line(state: BudgetState) -> str:
    usd = state.unit == "usd"
    text = (
        f"{printable(state.name)}: {amount_text(state.spent, usd=usd)} of {amount_text(state.limit, usd=usd)}"
    )
    return f"{text} until {state.until:%Y-%m-%d %H:%M %Z}" if state.until else text
