"""Find the batch price for a job: from the user's configs/prices.yaml first, then from the package model-prices."""

from __future__ import annotations

from datetime import datetime

from configs.job import Job
from configs.load import load_prices
from configs.providers.billing import has_fees
from tasks.stages.cost.price import FREE, Price, parse_overrides, published_price, stated_price


def price_of(job: Job, moment: datetime) -> Price | None:
    """The batch price in force at `moment`; None when it is unknown."""
    model, provider = job.prompt.model, job.provider
    if has_fees(job.prompt) and not provider.is_free:
        return None
    user_price = stated_price(parse_overrides(load_prices()), model, provider.name)
    if user_price is not None:
        return user_price
    if provider.is_free:
        return FREE
    # No seller: this provider or this kind of prompt has no published price. Unknown is better than a guess.
    seller = provider.seller_for(job.prompt)
    return None if seller is None else published_price(model, seller, moment, share=provider.batch_share)


def realtime_price_of(job: Job, moment: datetime) -> Price | None:
    """What the same calls would cost at once, by the published price; None when it is unknown."""
    seller = job.provider.seller_for(job.prompt)
    return None if seller is None else published_price(job.prompt.model, seller, moment, realtime=True)
