"""What a request costs in USD at batch rates; an unknown price stays unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Any

import model_prices
import numpy as np

from configs.errors import ConfigError

_PER_TOKEN = 1e-6
_WRITES = ("cache_write", "cache_write_1h")
_KEYS = {"model", "provider", "input", "output", "cached_input", *_WRITES, "factor", "source", "date"}
_Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Tier:
    """Rates of a request whose whole prompt is longer than `above` tokens. USD per million tokens."""

    above: int
    input: float
    output: float
    cached_input: float
    cache_write: float | None = None
    cache_write_1h: float | None = None


@dataclass(frozen=True)
class Price:
    """Batch rates of one model, USD per million tokens. `source` says where the figures come from.

    `cache_write` is for prompt tokens kept for five minutes, `cache_write_1h` for an hour; None where nobody says.
    """

    input: float
    output: float
    cached_input: float
    source: str
    tiers: tuple[Tier, ...] = ()
    cache_write: float | None = None
    cache_write_1h: float | None = None

    @property
    def is_free(self) -> bool:
        """Nothing costs anything, whatever the counts."""
        return not self.tiers and self.input == self.output == self.cached_input == 0

    def cost_usd(self, input_tokens: int, output_tokens: int = 0, cached_tokens: int = 0) -> float:
        """The cost of ONE request; `input_tokens` is the whole prompt, `cached_tokens` the part read from cache.

        Never hand it the sum of a batch: tiers go by the length of a single prompt.
        """
        rates: Price | Tier = self
        for tier in self.tiers:
            if input_tokens > tier.above:
                rates = tier
        cached = min(cached_tokens, input_tokens)
        fresh = input_tokens - cached
        usd = fresh * rates.input + cached * rates.cached_input + output_tokens * rates.output
        return usd * _PER_TOKEN

    def total_usd(self, input_tokens: _Counts, output_tokens: _Counts, cached_tokens: _Counts) -> float:
        """The cost of many requests, priced one by one; three arrays of equal length."""
        cached = np.minimum(cached_tokens, input_tokens)
        fresh = input_tokens - cached
        amounts = {"input": fresh, "cached_input": cached, "output": output_tokens}
        return sum(self._usd(amount, name, input_tokens) or 0.0 for name, amount in amounts.items())

    def writing_usd(self, input_tokens: _Counts, written: _Counts, written_1h: _Counts) -> float | None:
        """What writing to the cache adds to `total_usd`, where those tokens count as fresh; None for an unknown price."""
        more = 0.0
        for name, amount in (("cache_write", written), ("cache_write_1h", written_1h)):
            if not amount.any():
                continue
            usd = self._usd(amount, name, input_tokens)
            if usd is None:
                return None
            more += usd - (self._usd(amount, "input", input_tokens) or 0.0)
        return more

    def _usd(self, amount: _Counts, name: str, input_tokens: _Counts) -> float | None:
        """The price of an amount for each request at the rate of that name; tiers go by `input_tokens`."""
        rates: list[float | None] = [getattr(step, name) for step in (self, *self.tiers)]
        if None in rates:
            return None
        if not self.tiers:
            return float(amount.sum()) * (rates[0] or 0.0) * _PER_TOKEN
        level = np.searchsorted([tier.above for tier in self.tiers], input_tokens, side="left")
        return float((amount * np.array(rates)[level]).sum()) * _PER_TOKEN


FREE = Price(0.0, 0.0, 0.0, "runs on this machine")


@dataclass(frozen=True)
class PriceOverride:
    """A user's own batch price for the models that match a pattern such as `qwen-plus*`."""

    model: str
    price: Price
    provider: str | None = None

    def matches(self, model: str, provider: str) -> bool:
        """Pattern and provider both fit."""
        return self.provider in (None, provider) and fnmatchcase(model, self.model)


def stated_price(overrides: Sequence[PriceOverride], model: str, provider: str) -> Price | None:
    """The price that the user states for `model` at `provider`: that of the first override which matches both."""
    return next((override.price for override in overrides if override.matches(model, provider)), None)


def published_price(model: str, seller: str, moment: datetime) -> Price | None:
    """The batch price of `model` in force at `moment`, as the package model-prices knows it of `seller`."""
    rates = model_prices.rates(model, at=moment, provider=seller, mode="batch")
    # The package also answers with another seller's price.
    return _from_rates(rates) if rates is not None and rates.provider == seller else None


def parse_overrides(data: Any) -> tuple[PriceOverride, ...]:
    """Overrides from the content of prices.yaml: `{"prices": [{model, input, output, ...}, ...]}`."""
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
    unknown = sorted(map(str, set(entry) - _KEYS))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}: unknown key; allowed are {', '.join(sorted(_KEYS))}")
    factor = _rate(where, entry, "factor") if "factor" in entry else 1.0
    fresh = _rate(where, entry, "input") * factor
    cached = _rate(where, entry, "cached_input") * factor if "cached_input" in entry else fresh
    stated = entry.get("date")
    day = stated.isoformat() if isinstance(stated, date) else stated
    reduced = f"standard price × {factor:g}" if factor != 1 else None
    source = ", ".join(str(part) for part in (entry.get("source", "prices.yaml"), day, reduced) if part)
    writes = {name: _rate(where, entry, name) * factor for name in _WRITES if name in entry}
    price = Price(fresh, _rate(where, entry, "output") * factor, cached, source, (), **writes)
    return PriceOverride(entry["model"], price, entry.get("provider"))


def _rate(where: str, entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{where}.{key}: must be a number (USD per million tokens), not {value!r}")
    return float(value)


def _from_rates(rates: model_prices.Rates) -> Price:
    def either(value: float | None, other: float | None, last: float) -> float:
        return value if value is not None else other if other is not None else last

    tiers = []
    for tier in sorted(rates.tiers, key=lambda tier: int(tier.above)):
        fresh = either(tier.input, rates.input, 0.0)
        out = either(tier.output, rates.output, 0.0)
        read = either(tier.cache_read, rates.cache_read, fresh)
        write = tier.cache_write if tier.cache_write is not None else rates.cache_write
        tiers.append(Tier(tier.above, fresh, out, read, write, _for_an_hour(fresh, write, rates)))
    cached = either(rates.cache_read, None, rates.input)
    source = f"model-prices {version('model-prices')}, {rates.provider}/{rates.model}"
    hour = _for_an_hour(rates.input, rates.cache_write, rates)
    return Price(rates.input, rates.output, cached, source, tuple(tiers), rates.cache_write, hour)


def _for_an_hour(fresh: float, write: float | None, rates: model_prices.Rates) -> float | None:
    multiple = rates.cache_write_1h_multiple
    return fresh * multiple if multiple is not None else write
