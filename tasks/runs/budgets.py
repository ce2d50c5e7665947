"""The budgets that hold for a job: what its batches reserve of them, and whether they can be kept at all."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from math import ceil

from configs.budgets import HouseBudget
from configs.errors import ConfigError
from configs.job import Job
from configs.load import load_budgets
from tasks.ledger.caps import Matches, SpendingCap
from tasks.ledger.store import Ledger
from tasks.runs.estimates import answer_limit
from tasks.runs.prices import price_of
from tasks.stages.cost.budget import window_end, window_start
from tasks.stages.report.budget_state import BudgetState

_INPUT_MARGIN = 1.05  # an estimate is within 5 % of what is billed


def spending_caps(job: Job, now: datetime) -> tuple[SpendingCap, ...]:
    """The budgets that hold for the job's batches now: its own, and the house-wide ones that match.

    ConfigError for one that cannot be kept.
    """
    check_budgets(job, now)
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


def reservation(
    job: Job, moment: datetime, prompt_tokens: int, requests: int
) -> tuple[int | None, float | None]:
    """Tokens and USD that a batch may take, which count as spent until it has ended; None for what is unknown."""
    _, answer = answer_limit(job.prompt)
    price = price_of(job, moment)
    if requests == 0 or (price is not None and price.is_free and answer is None):
        return None, 0.0
    if answer is None:
        return None, None
    prompts = ceil(prompt_tokens * _INPUT_MARGIN)
    usd = price.cost_usd(ceil(prompts / requests), answer) * requests if price is not None else None
    return prompts + answer * requests, usd


def check_budgets(job: Job, now: datetime) -> None:
    """ConfigError for a budget that could not be kept, because nobody knows what a batch may cost."""
    names = [budget.name for budget in _house_budgets(job) if budget.usd is not None]
    own = [key for key, _, _ in job.budget.windows]
    if job.budget.approve_above_usd is not None:
        own.append("budget.approve_above_usd")
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
