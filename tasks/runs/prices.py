"""Find the price for a job: from the user's configs/prices.yaml first, then from the package model-prices."""

from __future__ import annotations

from datetime import datetime

from configs.deadline import Lane
from configs.job import Job
from configs.load import load_prices
from configs.providers.billing import has_fees
from tasks.stages.cost.price import FREE, Price, parse_overrides, published_price, stated_price


def price_of(job: Job, moment: datetime, lane: Lane | None = None) -> Price | None:
    """The batch price in force at `moment`, or that of real-time calls in `lane`; None when it is unknown."""
    model, provider = job.prompt.model, job.provider
    if has_fees(job.prompt) and not provider.is_free:
        return None
    user_price = stated_price(parse_overrides(load_prices()), model, provider.name, lane)
    if user_price is not None:
        return user_price
    if provider.is_free:
        return FREE
    # No seller: this provider or this kind of prompt has no published price. Unknown is better than a guess.
    seller = provider.seller_for(job.prompt)
    if seller is None:
        return None
    return published_price(model, seller, moment, share=provider.batch_share, lane=lane)


def realtime_price_of(job: Job, moment: datetime) -> Price | None:
    """What the same calls would cost at once; None when it is unknown, or nothing has a price."""
    return None if job.provider.is_free else price_of(job, moment, "standard")
