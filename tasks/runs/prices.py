"""Find the batch price of a job's tokens: the user's own price list first, then the published ones."""

from __future__ import annotations

from datetime import datetime

from configs.job import Job
from configs.load import load_prices
from tasks.stages.cost.price import FREE, Price, parse_overrides, published_price, stated_price


def price_of(job: Job, at: datetime) -> Price | None:
    """The batch price in force at `at`; None when nobody states one."""
    model, provider = job.prompt.model, job.provider
    stated = stated_price(parse_overrides(load_prices()), model, provider.name)
    if stated is not None:
        return stated
    if provider.is_free:
        return FREE
    seller = provider.seller_for(job.prompt)
    return None if seller is None else published_price(model, seller, at)
