"""The budgets that hold for a job: what its batches reserve of them, and whether they can be kept at all."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase

from configs.budgets import HouseBudget
from configs.errors import ConfigError
from configs.job import Job
from configs.load import load_budgets
from tasks.ledger.caps import Matches, SpendingCap
from tasks.ledger.store import Ledger
from tasks.runs.estimates import reservation
from tasks.runs.prices import price_of
from tasks.stages.cost.budget import window_end, window_start
from tasks.stages.report.budget_state import BudgetState
from tasks.stages.report.estimate import Estimate

_APPROVAL = "budget.approve_above_usd"  # a person may approve an unknown sum


def spending_caps(job: Job, now: datetime, estimated: Estimate | None) -> tuple[SpendingCap, ...]:
    """The budgets that hold for the job's batches now: its own, and the house-wide ones that match.

    ConfigError for one that cannot be kept.
    """
    check_budgets(job, now, estimated)
    return _caps(job, now)


def _caps(job: Job, now: datetime) -> tuple[SpendingCap, ...]:
    own = tuple(
        SpendingCap(
            key,
            _only(job.name),
            usd=usd,
            since=window_start(window, now, job.zone),
            until=window_end(window, now, job.zone),
        )
        for key, window, usd in job.budget.windows
    )
    house = tuple(
        SpendingCap(
            f"budget {budget.name!r}",
            _matching(budget),
            usd=budget.usd,
            tokens=budget.tokens,
            since=window_start(budget.window, now, job.zone),
            until=window_end(budget.window, now, job.zone),
        )
        for budget in _house_budgets(job)
    )
    return own + house


def budget_states(job: Job, ledger: Ledger | None, run_id: str, now: datetime) -> tuple[BudgetState, ...]:
    """How much is gone of each budget that holds for the job now; of a run's own, for the run with that id.

    None where configs/budgets.yaml is wrong: nothing is posted then, but what is there is published.
    """
    try:
        caps = _caps(job, now)
    except ConfigError:
        return ()
    return tuple(
        BudgetState(
            name=cap.name,
            unit="tokens" if cap.usd is None else "usd",
            limit=cap.limit,
            spent=ledger.spent(cap, run_id) if ledger else 0.0,
            until=cap.until.astimezone(job.zone) if cap.until else None,
        )
        for cap in caps
    )


def check_budgets(job: Job, now: datetime, estimated: Estimate | None = None) -> None:
    """ConfigError for a budget that could not be kept, because nobody knows what a batch may cost; with the run's estimate,
    also where its prompts hold what cannot be counted."""
    names = [budget.name for budget in _house_budgets(job) if budget.usd is not None]
    own = [key for key, _, _ in job.budget.windows]
    if job.budget.approve_above_usd is not None:
        own.append(_APPROVAL)
    in_usd = own + [f"budget {name!r} of configs/budgets.yaml" for name in names]
    in_tokens = [
        f"budget {budget.name!r} of configs/budgets.yaml"
        for budget in _house_budgets(job)
        if budget.usd is None
    ]
    tokens, usd = reservation(job, now, 1, 1)
    if in_usd and price_of(job, now) is None:
        raise ConfigError(
            f"{in_usd[0]}: the price of {job.prompt.model} at {job.provider.name} is unknown, so it cannot be kept;"
            " state the price in configs/prices.yaml, or remove the budget"
        )
    if (in_usd and usd is None) or (in_tokens and tokens is None):
        raise ConfigError(
            f"{(in_usd + in_tokens)[0]}: how long an answer may be is unknown, so it cannot be kept; limit it, e.g. by"
            " prompt.params.max_completion_tokens (max_tokens, max_output_tokens), or remove the budget"
        )
    limited = [name for name in in_usd if usd and name != _APPROVAL] + in_tokens
    if limited and estimated is not None and estimated.uncounted:
        raise ConfigError(
            f"{limited[0]}: how many tokens {' and '.join(estimated.uncounted)} are to {job.prompt.model} at"
            f" {job.provider.name} is unknown, so it cannot be kept; remove the budget, or leave them out of the prompt"
        )


def _house_budgets(job: Job) -> list[HouseBudget]:
    key = (job.name, job.provider.name, job.prompt.model)
    return [budget for budget in load_budgets() if _matching(budget)(*key)]


def _matching(budget: HouseBudget) -> Matches:
    def matches(job: str, provider: str, model: str) -> bool:
        pairs = ((job, budget.job), (provider, budget.provider), (model, budget.model))
        return all(fnmatchcase(value, pattern) for value, pattern in pairs)

    return matches


def _only(name: str) -> Matches:
    return lambda job, _provider, _model: job == name
