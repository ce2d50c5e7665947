"""The budgets that hold for a job: what its batches reserve of them, and whether they can be kept at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from configs.budgets import HouseBudget
from configs.deadline import Lane
from configs.errors import ConfigError
from configs.job import Job
from configs.load import load_budgets
from tasks.ledger.caps import Matches, SpendingCap
from tasks.ledger.store import Ledger
from tasks.runs.estimates import reservation
from tasks.runs.prices import price_of
from tasks.stages.cost.budget import window_end, window_start
from tasks.stages.cost.calibration import ENOUGH_ANSWERS
from tasks.stages.report.budget_state import BudgetState
from tasks.stages.report.estimate import Estimate

_LANE_USD = "deadline.max_usd"
RUN_BUDGET = "budget.run_usd"  # the one that counts a single run
_APPROVAL = "budget.approve_above_usd"  # a person may approve an unknown sum


@dataclass(frozen=True)
class BudgetUse:
    """How a budget stands, and the part of what is gone that open batches only reserve, in its unit."""

    state: BudgetState
    promised: float


def spending_caps(job: Job, now: datetime, estimated: Estimate | None) -> tuple[SpendingCap, ...]:
    """The budgets that hold for the job's batches now: its own, and the house-wide ones that match.

    ConfigError for one that cannot be kept.
    """
    if estimated is None:
        check_budgets(job, now)
    else:
        check_budgets(job, now, estimated.answer_p95, estimated.uncounted)
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


def lane_caps(job: Job) -> tuple[SpendingCap, ...]:
    """What the job's deadline lets real-time calls take in a run."""
    deadline = job.deadline
    if deadline is None:
        return ()
    own = _only(job.name)
    rows = SpendingCap("deadline.max_rows", own, rows=deadline.max_rows, in_lane=True)
    usd = SpendingCap(_LANE_USD, own, usd=deadline.max_usd, in_lane=True)
    return tuple(cap for cap in (rows, usd) if cap.usd is not None or cap.rows is not None)


def budget_states(job: Job, ledger: Ledger | None, run_id: str, now: datetime) -> tuple[BudgetState, ...]:
    """How much is gone of each budget that holds for the job now; of a run's own, for the run with that id.

    None where configs/budgets.yaml is wrong: nothing is posted then, but what is there is published.
    """
    try:
        caps = _caps(job, now)
    except ConfigError:
        return ()
    return tuple(_state(cap, job, ledger, run_id) for cap in caps)


def _state(cap: SpendingCap, job: Job, ledger: Ledger | None, run_id: str) -> BudgetState:
    return BudgetState(
        name=cap.name,
        unit="tokens" if cap.usd is None else "usd",
        limit=cap.limit,
        spent=ledger.spent(cap, run_id) if ledger else 0.0,
        until=cap.until.astimezone(job.zone) if cap.until else None,
    )


def budget_uses(job: Job, ledger: Ledger, run_id: str, now: datetime) -> tuple[BudgetUse, ...]:
    """The same as `budget_states`, with the part of each that is only promised. ConfigError where a budget is wrong."""
    return tuple(
        BudgetUse(_state(cap, job, ledger, run_id), ledger.promised(cap, run_id)) for cap in _caps(job, now)
    )


def budget_states_of(
    jobs: Iterable[Job], ledger: Ledger | None, run_id: str, now: datetime
) -> tuple[BudgetState, ...]:
    """The same of several jobs that differ in their models alone, each budget once."""
    states = {each.name: each for job in jobs for each in budget_states(job, ledger, run_id, now)}
    return tuple(states.values())


def check_budgets(
    job: Job, now: datetime, answer_p95: int | None = None, uncounted: Sequence[str] = ()
) -> None:
    """ConfigError for a budget that could not be kept, because nobody knows what a batch may cost: neither its price, nor how
    long its answers are (`answer_p95`, of the estimate or history), nor what is `uncounted` of its prompts. The same for
    what real-time calls after a deadline may cost."""
    _check_budgets(job, now, answer_p95, uncounted)
    if job.deadline is not None:
        _check_budgets(job, now, answer_p95, uncounted, job.deadline.lane)


def _check_budgets(
    job: Job, now: datetime, answer_p95: int | None, uncounted: Sequence[str], lane: Lane | None = None
) -> None:
    names = [budget.name for budget in _house_budgets(job) if budget.usd is not None]
    own = [key for key, _, _ in job.budget.windows]
    if job.budget.approve_above_usd is not None:
        own.append(_APPROVAL)
    if lane is not None and job.deadline is not None and job.deadline.max_usd is not None:
        own.insert(0, _LANE_USD)
    in_usd = own + [f"budget {name!r} of configs/budgets.yaml" for name in names]
    in_tokens = [
        f"budget {budget.name!r} of configs/budgets.yaml"
        for budget in _house_budgets(job)
        if budget.usd is None
    ]
    tokens, usd = reservation(job, now, 1, 1, answer_p95=answer_p95, lane=lane)
    if in_usd and price_of(job, now, lane) is None:
        of_calls, stated = (f" in {lane} calls", f" with lane: {lane}") if lane else ("", "")
        raise ConfigError(
            f"{in_usd[0]}: the price of {job.prompt.model} at {job.provider.name}{of_calls} is unknown, so it cannot be kept;"
            f" state the price in configs/prices.yaml{stated}, or remove the {'deadline' if lane else 'budget'}"
        )
    if (in_usd and usd is None) or (in_tokens and tokens is None):
        raise ConfigError(
            f"{(in_usd + in_tokens)[0]}: how long an answer may be is unknown, so it cannot be kept; limit it, e.g. by"
            f" {_limiting_fields(job)}, or try {ENOUGH_ANSWERS} rows or more"
            " without the budget first (--limit): what their answers take is reserved then"
        )
    limited = [name for name in in_usd if usd and name != _APPROVAL] + in_tokens
    if limited and uncounted:
        raise ConfigError(
            f"{limited[0]}: how many tokens {' and '.join(uncounted)} are to {job.prompt.model} at"
            f" {job.provider.name} is unknown, so it cannot be kept; remove the budget, or leave them out of the prompt"
        )


def _limiting_fields(job: Job) -> str:
    """Where somebody may say how long an answer may be."""
    if job.source.format != "requests":
        return "prompt.params.max_completion_tokens (max_tokens, max_output_tokens)"
    name = "generationConfig.maxOutputTokens" if job.provider.dialect == "gemini" else "max_completion_tokens"
    name = "max_output_tokens" if job.prompt.endpoint == "/v1/responses" else name
    return f"{name} in every request of {job.source.path} that asks {job.prompt.model}"


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
