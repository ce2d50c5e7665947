"""Budgets: the `budget` section of the job file, and the house-wide ones of configs/budgets.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.frozen import Count, Frozen

BudgetWindow = Literal["run", "day", "week", "month", "rolling-24h", "rolling-30d"]
Usd = Annotated[float, Field(strict=True, ge=0.000001, le=10**9)]


class Budget(Frozen):
    """What a job may cost in USD: what it has cost, and what its open batches reserve. Null means no limit.

    A batch that would go beyond it is not posted; what is posted is collected. Days and months begin at midnight in the
    job's time zone.
    """

    run_usd: Usd | None = Field(None, description="For one run, all its attempts together.")
    day_usd: Usd | None = Field(None, description="For all runs of the job in a day.")
    month_usd: Usd | None = Field(None, description="For all runs of the job in a month.")
    approve_above_usd: Usd | None = Field(
        None,
        description="A run that may cost more (answers as long as they may be; without a limit, as earlier ones), posts nothing until somebody"
        " approves it: `nightmail approve RUN`, or in the Prefect UI Resume or the deployment `approve`.",
    )
    on_reach: Literal["wait", "stop", "publish"] = Field(
        "wait",
        description="What a run does that would go beyond this budget or one of configs/budgets.yaml: wait for the next window"
        " (or for room, or a higher budget); or, when its open batches are collected and there is still no room, stop with an"
        " error, or publish the answers it has, the other rows as `cancelled`.",
    )

    @property
    def windows(self) -> tuple[tuple[str, BudgetWindow, float], ...]:
        """Key, window and USD of each limit that is set."""
        limits: tuple[tuple[str, BudgetWindow, float | None], ...] = (
            ("budget.run_usd", "run", self.run_usd),
            ("budget.day_usd", "day", self.day_usd),
            ("budget.month_usd", "month", self.month_usd),
        )
        return tuple((key, window, usd) for key, window, usd in limits if usd is not None)


class HouseBudget(Frozen):
    """One entry of configs/budgets.yaml: a limit for all batches of the jobs, providers and models that match."""

    name: str = Field(min_length=1, max_length=100)
    usd: Usd | None = None
    tokens: Count | None = None
    window: BudgetWindow
    job: str = "*"
    provider: str = "*"
    model: str = "*"

    @model_validator(mode="after")
    def _one_unit(self) -> HouseBudget:
        if (self.usd is None) == (self.tokens is None):
            raise ValueError("give either usd or tokens")
        return self


class HouseBudgets(Frozen):
    """The content of configs/budgets.yaml."""

    budgets: tuple[HouseBudget, ...] = ()
