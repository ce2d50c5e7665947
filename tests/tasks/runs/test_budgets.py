"""What a batch reserves, which budgets hold for it, and which cannot be kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from configs.budgets import HouseBudget
from configs.errors import ConfigError
from configs.job import Job
from tasks.runs import budgets, prices
from tasks.runs.budgets import budget_states, check_budgets, spending_caps
from tasks.runs.estimates import reservation
from tasks.stages.report.budget_state import budget_lines

AT = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
PRICES = {
    "prices": [
        {"model": "known", "input": 10, "output": 100},
        {"model": "writes", "input": 10, "output": 100, "cache_write": 12.5, "cache_write_1h": 20},
    ]
}


@pytest.fixture(autouse=True)
def _prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "load_prices", lambda: PRICES)


def job(
    budget: dict[str, Any] | None = None, *, provider: str = "openai", model: str = "known", **prompt: Any
) -> Job:
    tree = {
        "name": "letters",
        "timezone": "Asia/Tokyo",
        "source": {"path": "rows.parquet"},
        "prompt": {"model": model, "user": "x", **prompt},
        "provider": {"name": provider},
        "budget": budget or {},
        "output": {"path": "out"},
    }
    return Job.model_validate(tree)


CAPPED = {"params": {"max_completion_tokens": 50}}
ANTHROPIC = job(provider="anthropic", model="writes", params={"max_tokens": 50})


def caching(mode: str) -> Job:
    return job(provider="anthropic", model="writes", params={"max_tokens": 50}, cache=mode)


@pytest.mark.parametrize(
    ("made", "tokens", "usd"),
    [
        # 1,000 prompt tokens and 5 % in 10 requests of at most 50
        (job(**CAPPED), 1_550, (1_050 * 10 + 500 * 100) / 1e6),
        (job(params={"max_completion_tokens": 50, "n": 2}), 2_050, (1_050 * 10 + 1_000 * 100) / 1e6),
        (job(), None, None),
        (job(model="unknown", **CAPPED), 1_550, None),
        (job(provider="local", model="echo"), None, 0.0),
        (job(endpoint="/v1/embeddings"), 1_050, 1_050 * 10 / 1e6),
        (ANTHROPIC, 1_550, (1_050 * 10 + 500 * 100) / 1e6),
        (caching("mark"), 1_550, (1_050 * 20 + 500 * 100) / 1e6),
        (caching("prime"), 1_550, (1_050 * 20 + 500 * 100) / 1e6),
    ],
    ids=[
        "capped",
        "two answers each",
        "no cap",
        "no price",
        "free",
        "no answers",
        "no cache",
        "marked",
        "primed",
    ],
)
def test_a_batch_reserves_its_prompts_and_the_longest_answers(
    made: Job, tokens: int | None, usd: float | None
) -> None:
    reserved_tokens, reserved_usd = reservation(made, AT, 1_000, 10)
    assert reserved_tokens == tokens
    assert reserved_usd == (pytest.approx(usd) if usd is not None else None)


def test_a_cap_holds_for_what_matches_in_the_jobs_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    house = (
        HouseBudget(name="others", usd=1, window="day", provider="anthropic"),
        HouseBudget(name="ours", tokens=9, window="week", job="let*", model="kn?wn"),
    )
    monkeypatch.setattr(budgets, "load_budgets", lambda: house)
    own, shared = spending_caps(job({"day_usd": 2.0}, **CAPPED), AT, None)
    assert (own.name, own.usd, own.limit) == ("budget.day_usd", 2.0, 2.0)
    assert own.since == datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
    assert own.until == datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    assert own.matches("letters", "any", "any")
    assert not own.matches("others", "any", "any")
    assert (shared.name, shared.tokens, shared.limit) == ("budget 'ours'", 9, 9.0)
    assert shared.matches("lettuce", "any", "known")
    assert not shared.matches("lettuce", "any", "kown")


TOKENS = HouseBudget(name="t", tokens=9, window="day")
DOLLARS = HouseBudget(name="d", usd=9, window="day")


@pytest.mark.parametrize(
    ("made", "house", "said"),
    [
        (job({"run_usd": 1.0}, **CAPPED), (TOKENS, DOLLARS), None),
        (job(), (), None),
        (job({"on_reach": "stop"}, model="unknown"), (), None),
        (job({"run_usd": 1.0}, provider="local", model="echo"), (DOLLARS,), None),
        (
            job({"day_usd": 1.0}, model="unknown", **CAPPED),
            (),
            "budget.day_usd: the price of unknown at openai is unknown",
        ),
        (job({"day_usd": 1.0}, model="unknown", **CAPPED), (), "configs/prices.yaml"),
        (job(model="unknown", **CAPPED), (DOLLARS,), "budget 'd' of configs/budgets.yaml: the price"),
        (job(model="unknown", **CAPPED), (TOKENS,), None),
        (job({"run_usd": 1.0}), (), "budget.run_usd: how long an answer may be is unknown"),
        (job(), (TOKENS,), "prompt.params.max_completion_tokens"),
    ],
)
def test_a_budget_that_nobody_could_keep_is_an_error(
    monkeypatch: pytest.MonkeyPatch, made: Job, house: tuple[HouseBudget, ...], said: str | None
) -> None:
    monkeypatch.setattr(budgets, "load_budgets", lambda: house)
    if said is None:
        check_budgets(made, AT)
    else:
        with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
            check_budgets(made, AT)


PICTURES = ("pictures", "sounds")


@pytest.mark.parametrize(
    ("made", "house", "said"),
    [
        (
            job({"run_usd": 1.0}, **CAPPED),
            (),
            r"budget\.run_usd: how many tokens pictures and sounds are to known",
        ),
        (job(**CAPPED), (TOKENS,), r"budget 't' of configs/budgets\.yaml: how many tokens pictures"),
        (job(provider="local", model="echo", **CAPPED), (DOLLARS, TOKENS), "budget 't' of"),
        (job(provider="local", model="echo"), (DOLLARS,), None),
        (job({"approve_above_usd": 1.0}, **CAPPED), (), None),
        (job(**CAPPED), (), None),
    ],
    ids=["dollars", "tokens", "tokens of a free model", "a free model", "a person may", "no budget"],
)
def test_a_budget_is_no_use_for_prompts_with_what_nobody_can_count(
    monkeypatch: pytest.MonkeyPatch, made: Job, house: tuple[HouseBudget, ...], said: str | None
) -> None:
    monkeypatch.setattr(budgets, "load_budgets", lambda: house)
    if said is None:
        check_budgets(made, AT, None, PICTURES)
    else:
        with pytest.raises(ConfigError, match=said):
            check_budgets(made, AT, None, PICTURES)


@pytest.mark.parametrize("house", [(), (TOKENS, DOLLARS)], ids=["its own", "the house's"])
def test_a_job_without_a_limit_of_its_answers_has_a_budget_once_earlier_ones_say_how_long_they_are(
    monkeypatch: pytest.MonkeyPatch, house: tuple[HouseBudget, ...]
) -> None:
    monkeypatch.setattr(budgets, "load_budgets", lambda: house)
    unlimited = job({"run_usd": 1.0})
    check_budgets(unlimited, AT, 40)
    with pytest.raises(ConfigError, match=r"limit it, e\.g\. by .* or try 20 rows or more without"):
        check_budgets(unlimited, AT)


@pytest.mark.parametrize(
    ("made", "tokens"), [(job(**CAPPED), 1_450), (job(), 1_450), (job(endpoint="/v1/embeddings"), 1_050)]
)
def test_a_reservation_goes_by_earlier_answers_where_they_are_shorter_than_the_limit(
    made: Job, tokens: int
) -> None:
    reserved, usd = reservation(made, AT, 1_000, 10, answer_p95=40)
    assert reserved == tokens
    assert usd == pytest.approx((1_050 * 10 + (tokens - 1_050) * 100) / 1e6)


def test_a_reservation_goes_by_the_estimates_own_uncertainty() -> None:
    tokens, usd = reservation(job(**CAPPED), AT, 1_000, 10, 1.4)
    assert tokens == 1_900
    assert usd == pytest.approx((1_400 * 10 + 500 * 100) / 1e6)


def test_a_state_says_how_much_is_gone_and_until_when() -> None:
    (state,) = budget_states(job({"day_usd": 2.0}, **CAPPED), None, "", AT)
    assert (state.unit, state.limit, state.spent) == ("usd", 2.0, 0.0)
    assert budget_lines([state]) == ["budget.day_usd: $0.00 of $2.00 until 2026-11-23 00:00 JST"]
    rolling = state.model_copy(update={"unit": "tokens", "limit": 9.0, "spent": 4.0, "until": None})
    assert budget_lines([rolling]) == ["budget.day_usd: 4 tokens of 9 tokens"]
