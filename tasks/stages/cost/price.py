"""Compute the cost of requests in USD, at batch prices or those of real-time calls, published or the user's own.

An unknown price is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Any, get_args

import model_prices
import numpy as np

from configs.deadline import Lane
from configs.errors import ConfigError

_PER_TOKEN = 1e-6
_WRITES = ("cache_write", "cache_write_1h")
_KEYS = {"model", "provider", "lane", "input", "output", "cached_input", *_WRITES, "factor", "source", "date"}
_Counts = np.ndarray[Any, np.dtype[np.int64]]
_Usd = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Tier:
    """Prices for requests whose prompt is longer than `above` tokens, in USD per million tokens."""

    above: int
    input: float
    output: float
    cached_input: float
    cache_write: float | None = None
    cache_write_1h: float | None = None


@dataclass(frozen=True)
class Price:
    """Prices of one model, in USD per million tokens. `source` says where the figures come from, `dated` since when
    they hold, where that is known.

    `cache_write` is for prompt tokens written to the cache for five minutes, `cache_write_1h` for an hour (Anthropic bills
    them above the input price); None where unknown.
    """

    input: float
    output: float
    cached_input: float
    source: str
    tiers: tuple[Tier, ...] = ()
    cache_write: float | None = None
    cache_write_1h: float | None = None
    dated: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether every token is free."""
        return not self.tiers and self.input == self.output == self.cached_input == 0

    @property
    def with_cache_writes(self) -> Price:
        """The prices if all input were written to the cache in the dearest way that has a price."""
        tiers = tuple(replace(tier, input=_dearest_input(tier)) for tier in self.tiers)
        return replace(self, input=_dearest_input(self), tiers=tiers)

    def cost_usd(self, input_tokens: int, output_tokens: float = 0, cached_tokens: int = 0) -> float:
        """The cost of ONE request; `input_tokens` is the whole prompt, `cached_tokens` the part read from cache.

        Do not call it with the sums of a batch: tiers go by the length of a single prompt.
        """
        rates: Price | Tier = self
        for tier in self.tiers:
            if input_tokens > tier.above:
                rates = tier
        cached = min(cached_tokens, input_tokens)
        fresh = input_tokens - cached
        usd = fresh * rates.input + cached * rates.cached_input + output_tokens * rates.output
        return usd * _PER_TOKEN

    def usd_of_each(self, input_tokens: _Counts, output_tokens: _Counts, cached_tokens: _Counts) -> _Usd:
        """The costs of many requests, priced one by one; arrays of equal length."""
        cached = np.minimum(cached_tokens, input_tokens)
        usd = self._usd(input_tokens - cached, "input", input_tokens)
        for amount, name in ((cached, "cached_input"), (output_tokens, "output")):
            usd = usd + self._usd(amount, name, input_tokens)
        return usd

    def cache_write_usd(self, input_tokens: _Counts, written: _Counts, written_1h: _Counts) -> _Usd:
        """The extra costs of cache writes over `usd_of_each`, which prices those tokens as plain input; NaN where unknown."""
        extra_cost: _Usd = np.zeros(len(input_tokens))
        for name, amount in (("cache_write", written), ("cache_write_1h", written_1h)):
            if amount.any():
                more = self._usd(amount, name, input_tokens) - self._usd(amount, "input", input_tokens)
                extra_cost = extra_cost + np.where(amount > 0, more, 0.0)
        return extra_cost

    def cache_saving_usd(self, input_tokens: _Counts, cached_tokens: _Counts) -> _Usd:
        """What each request would have cost more if nothing of its prompt had been read from the cache."""
        cached = np.minimum(cached_tokens, input_tokens)
        saving: _Usd = self._usd(cached, "input", input_tokens) - self._usd(
            cached, "cached_input", input_tokens
        )
        return saving

    def _usd(self, amount: _Counts, name: str, input_tokens: _Counts) -> _Usd:
        """`amount` of each request at the rate called `name`, NaN where there is none; `input_tokens` selects its tier."""
        rates = np.array([getattr(step, name) for step in (self, *self.tiers)], np.float64)
        rate = rates[0]
        if self.tiers:
            rate = rates[np.searchsorted([tier.above for tier in self.tiers], input_tokens, side="left")]
        usd: _Usd = amount * rate * _PER_TOKEN
        return usd


def _dearest_input(rates: Price | Tier) -> float:
    return max(rates.input, rates.cache_write or 0.0, rates.cache_write_1h or 0.0)


FREE = Price(0.0, 0.0, 0.0, "runs on this machine")


@dataclass(frozen=True)
class PriceOverride:
    """A user's own price for the models that match a pattern such as `qwen-plus*`: of batches, or of real-time calls in
    `lane`."""

    model: str
    price: Price
    provider: str | None = None
    lane: Lane | None = None

    def matches(self, model: str, provider: str, lane: Lane | None = None) -> bool:
        """Whether pattern, provider and lane all match."""
        is_there = self.provider in (None, provider) and self.lane == lane
        return is_there and fnmatchcase(model, self.model)


def stated_price(
    overrides: Sequence[PriceOverride], model: str, provider: str, lane: Lane | None = None
) -> Price | None:
    """The user's own price for `model` at `provider`: the first override that matches."""
    return next((override.price for override in overrides if override.matches(model, provider, lane)), None)


def published_price(
    model: str, seller: str, moment: datetime, *, share: float | None = None, lane: Lane | None = None
) -> Price | None:
    """The seller's batch price of `model` in force at `moment`, from the package model-prices, or that of real-time calls in
    `lane`.

    With a `share`, a batch costs that part of the real-time price, and cached input as much as any other.
    """
    mode = lane or ("batch" if share is None else "standard")
    rates = model_prices.rates(model, at=moment, provider=seller, mode=mode)
    # The package falls back to another seller's price; that one is not what this run pays.
    if rates is None or rates.provider != seller:
        return None
    price = _from_rates(rates)
    return price if lane or share is None else _shared(price, share)


def _shared(price: Price, share: float) -> Price:
    """The price of a batch as a share of the real-time price, without a discount for cached input."""
    tiers = tuple(
        Tier(tier.above, tier.input * share, tier.output * share, tier.input * share) for tier in price.tiers
    )
    source = f"{price.source}, real-time price × {share:g}"
    return Price(
        price.input * share, price.output * share, price.input * share, source, tiers, dated=price.dated
    )


def parse_overrides(data: Any) -> tuple[PriceOverride, ...]:
    """Parse the content of prices.yaml: `{"prices": [{model, input, output, ...}, ...]}`."""
    if data is None:
        return ()
    entries = data.get("prices") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or set(data) - {"prices"} or not isinstance(entries or [], list):
        raise ConfigError("prices: the file must hold one key, prices, with a list; see configs/prices.yaml")
    return tuple(_override(index, entry) for index, entry in enumerate(entries or []))


def _override(index: int, entry: Any) -> PriceOverride:
    where = f"prices[{index}]"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("model"), str):
        raise ConfigError(f"{where}: needs a model pattern; see configs/prices.yaml")
    lane = entry.get("lane")
    if lane not in (None, *get_args(Lane)):
        raise ConfigError(
            f"{where}.lane: must be one of {', '.join(get_args(Lane))}, not {lane!r}; without it, the price is of batches"
        )
    unknown = sorted(map(str, set(entry) - _KEYS))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}: unknown key; allowed are {', '.join(sorted(_KEYS))}")
    factor = _rate(where, entry, "factor") if "factor" in entry else 1.0
    fresh = _rate(where, entry, "input") * factor  # for input tokens that were not read from the cache
    cached = _rate(where, entry, "cached_input") * factor if "cached_input" in entry else fresh
    stated_date = entry.get("date")
    date_text = stated_date.isoformat() if isinstance(stated_date, date) else stated_date
    discount = f"standard price × {factor:g}" if factor != 1 else None
    source = ", ".join(
        str(part) for part in (entry.get("source", "prices.yaml"), date_text, discount) if part
    )
    writes = {name: _rate(where, entry, name) * factor for name in _WRITES if name in entry}
    output = _rate(where, entry, "output") * factor
    price = Price(fresh, output, cached, source, (), **writes, dated=date_text)
    return PriceOverride(entry["model"], price, entry.get("provider"), lane)


def _rate(where: str, entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{where}.{key}: must be a number (USD per million tokens), not {value!r}")
    return float(value)


def _from_rates(rates: model_prices.Rates) -> Price:
    def first_known(value: float | None, other: float | None, last: float) -> float:
        return value if value is not None else other if other is not None else last

    tiers = []
    for tier in sorted(rates.tiers, key=lambda tier: int(tier.above)):
        fresh = first_known(tier.input, rates.input, 0.0)
        out = first_known(tier.output, rates.output, 0.0)
        read = first_known(tier.cache_read, rates.cache_read, fresh)
        write = tier.cache_write if tier.cache_write is not None else rates.cache_write
        tiers.append(Tier(tier.above, fresh, out, read, write, _one_hour_write_rate(fresh, write, rates)))
    cached = first_known(rates.cache_read, None, rates.input)
    source = f"model-prices {version('model-prices')}, {rates.provider}/{rates.model}"
    hour = _one_hour_write_rate(rates.input, rates.cache_write, rates)
    dated = str(rates.valid_from)[:10] if rates.valid_from else None
    return Price(rates.input, rates.output, cached, source, tuple(tiers), rates.cache_write, hour, dated)


def _one_hour_write_rate(fresh: float, write: float | None, rates: model_prices.Rates) -> float | None:
    multiple = rates.cache_write_1h_multiple
    return fresh * multiple if multiple is not None else write
