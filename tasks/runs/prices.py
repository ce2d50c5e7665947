"""What a job's tokens cost: the house's own price list first, then the published one; None when nobody says."""

from __future__ import annotations

import json
import re
from datetime import datetime

from configs.job import Job
from configs.load import load_prices
from configs.prompt import Prompt
from tasks.stages.cost.price import Price, find_price, parse_overrides

# Beside text and images read and text written, Google has prices of their own, and one for every search.
_BILLED_OTHERWISE = re.compile(r"audio|video|modalit|google_?(search|maps)", re.IGNORECASE)


def price_of(job: Job, at: datetime) -> Price | None:
    """The batch price in force at `at`. A service behind a URL of your own has only prices you state yourself."""
    elsewhere = getattr(job.provider, "base_url", None) or getattr(job.provider, "upstream", None)
    # Image tokens of the prompt have a price of their own, which the list does not say.
    unlisted = job.prompt.endpoint == "/v1/images/edits" and job.provider.name != "local"
    unlisted = unlisted or (job.provider.name == "gemini" and _billed_otherwise(job.prompt))
    return find_price(
        job.prompt.model,
        job.provider.name,
        at=at,
        overrides=parse_overrides(load_prices()),
        listed=not elsewhere and not unlisted,
    )


def _billed_otherwise(prompt: Prompt) -> bool:
    contents = (prompt.user, *(message.content for message in prompt.messages))
    media = [
        part for content in contents if isinstance(content, tuple) for part in content if "text" not in part
    ]
    return bool(_BILLED_OTHERWISE.search(json.dumps([media, prompt.params], default=str)))
