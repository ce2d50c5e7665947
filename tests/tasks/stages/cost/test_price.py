"""Prices: batch rates, per request, and unknown rather than guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from tasks.stages.cost.price import FREE, Price, Tier, parse_overrides, published_price, stated_price

AT = datetime(2026, 11, 1, tzinfo=UTC)
TIERED = Price(1.0, 2.0, 0.5, "test", (Tier(100, 4.0, 8.0, 2.0), Tier(1_000, 10.0, 20.0, 5.0)))
FLAT = Price(1.0, 2.0, 0.5, "test")


def test_the_rates_are_those_of_the_batch_mode() -> None:
    price = published_price("gpt-5.4-mini", "openai", AT)
    assert price is not None
    assert (price.input, price.output, price.cached_input) == (0.375, 2.25, 0.0375)
    assert "gpt-5.4-mini" in price.source


@pytest.mark.parametrize(
    ("model", "seller"),
    [
        ("no-such-model", "openai"),
        ("gpt-5.4-mini", "no-such-seller"),
        ("gpt-5.4-mini", "anthropic"),
        ("qwen-plus", "openai"),
    ],
)
def test_what_nobody_prices_is_unknown(model: str, seller: str) -> None:
    assert published_price(model, seller, AT) is None


def test_what_costs_nothing_is_free() -> None:
    assert FREE.is_free


def test_the_first_matching_override_wins() -> None:
    overrides = parse_overrides(
        {"prices": [{"model": "gpt-*", "provider": "openai", "input": 1, "output": 2, "source": "contract"},
                    {"model": "gpt-5*", "input": 3, "output": 4, "cached_input": 0.5}]}
    )  # fmt: skip
    mine = stated_price(overrides, "gpt-5.4-mini", "openai")
    other = stated_price(overrides, "gpt-5.4-mini", "azure")
    assert mine is not None
    assert other is not None
    assert stated_price(overrides, "qwen-plus", "openai") is None
    assert (mine.input, mine.cached_input, mine.source) == (1.0, 1.0, "contract")
    assert (other.input, other.cached_input) == (3.0, 0.5)


@pytest.mark.parametrize(
    ("data", "culprit"),
    [
        ([], "prices: "),
        ({"price": []}, "prices: "),
        ({"prices": [{"input": 1}]}, r"prices\[0\]: needs a model"),
        ({"prices": [{"model": "a", "input": 1}]}, r"prices\[0\]\.output: "),
        ({"prices": [{"model": "a", "input": -1, "output": 1}]}, r"prices\[0\]\.input: "),
        ({"prices": [{"model": "a", "input": "1", "output": 1}]}, r"prices\[0\]\.input: "),
        ({"prices": [{"model": "a", "inptu": 1}]}, r"prices\[0\]\.inptu: unknown"),
    ],
)
def test_a_wrong_price_file_names_the_key(data: object, culprit: str) -> None:
    with pytest.raises(ConfigError, match=f"^{culprit}"):
        parse_overrides(data)


def test_a_standard_price_counts_by_its_factor_and_says_so() -> None:
    entry = {
        "model": "qwen-*",
        "provider": "alibaba",
        "input": 0.4,
        "output": 1.2,
        "factor": 0.5,
        "source": "page",
    }
    price = stated_price(parse_overrides({"prices": [entry]}), "qwen-plus", "alibaba")
    assert price is not None
    assert (price.input, price.output, price.cached_input) == (0.2, 0.6, 0.2)
    assert price.source == "page, standard price × 0.5"


def test_the_shipped_price_file_is_valid() -> None:
    path = Path(__file__).parents[4] / "configs" / "prices.yaml"
    assert parse_overrides(yaml.safe_load(path.read_text(encoding="utf-8"))) == ()
    assert parse_overrides(None) == ()


@pytest.mark.parametrize(
    ("price", "counts", "usd"),
    [
        (FLAT, (1_000_000, 1_000_000, 0), 3.0),
        (FLAT, (1_000_000, 0, 400_000), 0.8),
        (FLAT, (100, 0, 500), 100 * 0.5e-6),
        (TIERED, (100, 10, 0), 100e-6 + 20e-6),
        (TIERED, (101, 10, 1), 100 * 4e-6 + 2e-6 + 80e-6),
        (TIERED, (5_000, 0, 0), 5_000 * 10e-6),
    ],
)
def test_a_request_costs_what_its_own_length_says(
    price: Price, counts: tuple[int, int, int], usd: float
) -> None:
    assert price.cost_usd(*counts) == pytest.approx(usd)


@given(st.lists(st.tuples(*[st.integers(0, 3_000)] * 3), max_size=20), st.sampled_from([FLAT, TIERED]))
def test_many_requests_cost_the_sum_of_each(rows: list[tuple[int, int, int]], price: Price) -> None:
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    assert price.usd_of_each(*columns).sum() == pytest.approx(sum(price.cost_usd(*row) for row in rows))


def test_tiers_of_the_data_are_kept() -> None:
    price = published_price("gpt-6-luna", "openai", AT)
    assert price is not None
    assert [tier.above for tier in price.tiers] == [272_000]
    apart = 2 * price.cost_usd(200_000, 0)
    assert apart < price.cost_usd(400_000, 0)


@pytest.mark.parametrize(
    ("model", "cached_input"),
    [("gemini-2.5-flash", 0.03), ("gemini-3-flash-preview", 0.05), ("gemini-3.8-flash", 0.0375)],
)
def test_what_gemini_reads_from_its_cache_costs_half_only_where_google_says_so(
    model: str, cached_input: float
) -> None:
    price = published_price(model, "google", AT)
    assert price is not None
    assert price.cached_input == cached_input


@pytest.mark.parametrize("hour", [False, True])
def test_what_is_written_to_a_cache_has_a_price_of_its_own(hour: bool) -> None:
    price = published_price("claude-haiku-4-5", "anthropic", AT)
    assert price is not None
    rates = (price.input, price.output, price.cached_input, price.cache_write, price.cache_write_1h)
    assert rates == (0.5, 2.5, 0.05, 0.625, 1.0)
    counts = [np.array([1_000, 2_000]), np.array([10, 10]), np.array([0, 1_500])]
    written, none = np.array([900, 0]), np.array([0, 0])
    more = price.cache_write_usd(counts[0], *((none, written) if hour else (written, none)))
    whole = 100 * 0.5 + 900 * (1.0 if hour else 0.625) + 500 * 0.5 + 1_500 * 0.05 + 20 * 2.5
    assert (price.usd_of_each(*counts) + more).sum() == pytest.approx(whole / 1e6)


def test_writes_to_a_cache_are_unknown_where_nobody_prices_them_and_nothing_where_there_are_none() -> None:
    tokens, none, some = np.array([1_000]), np.array([0]), np.array([900])
    assert FLAT.cache_write_usd(tokens, none, none).sum() == 0
    assert np.isnan(FLAT.cache_write_usd(tokens, none, some)).any()
    stated = parse_overrides(
        {"prices": [{"model": "m", "input": 1, "output": 2, "cache_write_1h": 2, "factor": 0.5}]}
    )
    mine = stated_price(stated, "m", "openai")
    assert mine is not None
    assert mine.cache_write_usd(tokens, none, some).sum() == pytest.approx(900 * 0.5 / 1e6)
    assert np.isnan(mine.cache_write_usd(tokens, some, none)).all()


def test_writes_to_a_cache_go_by_tiers_too() -> None:
    tiers = (Tier(100, 4.0, 8.0, 2.0, 5.0, 8.0),)
    price = Price(1.0, 2.0, 0.5, "test", tiers, 1.25, 2.0)
    short, long = np.array([50, 0]), np.array([0, 150])
    assert price.cache_write_usd(np.array([50, 150]), short, long).sum() == pytest.approx(
        (50 * 0.25 + 150 * 4.0) / 1e6
    )
