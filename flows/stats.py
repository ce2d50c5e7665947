"""The flow `stats`, scheduled every morning: figures over the last days as an artifact of its key, with a table and a picture."""

import os
from typing import Literal

from prefect import flow

from configs.clock import SystemClock
from tasks.orchestration.artifacts import save_markdown
from tasks.orchestration.blocks import load_home
from tasks.orchestration.run_states import one_line_failures
from tasks.usage.asked import LAST, ZONE, asked_usage
from tasks.usage.document import By, Usage
from tasks.usage.markdown import usage_as_markdown


@flow(name="stats", flow_run_name="stats by {by}, last {since}", persist_result=False, retries=0)
@one_line_failures
def stats(
    by: Literal["model", "provider", "job", "day", "account"] = "model",
    since: str = LAST,
    job: str = "",
    zone: str = ZONE,
) -> Usage:
    """Requests, failures, times, tokens, cost and reuse of what ended of late.

    Args:
        by: What to group by.
        since: What ended within this time up to now, such as 7d or 12h.
        job: Only the job of this name; empty for all.
        zone: IANA name of the time zone whose days are counted.
    """
    home, clock = load_home(os.environ), SystemClock()
    usage = asked_usage(home, clock, By(by), since=since, job=job or None, zone=zone)
    save_markdown("stats", usage_as_markdown(usage), f"Statistics of the last {since}, by {by}")
    return usage
