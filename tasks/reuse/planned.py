"""What a dry run says of reuse: the rows that have an earlier answer, and those that ask what another row asks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import reduce

import numpy as np

from configs.job import Job
from tasks.runs.estimates import estimate
from tasks.stages.cost.calibration import History
from tasks.stages.plan import RequestPlan
from tasks.stages.prompt import tokens
from tasks.stages.prompt.ids import DuplicateFinder
from tasks.stages.prompt.recall import Recalled
from tasks.stages.report.estimate import CostRange, Estimate, add_ranges
from tasks.stages.report.plan import Duplicates, PlannedReuse


class ReuseCount:
    """Counts while the requests of a plan are walked, whose `recall` is set. Memory does not grow with the rows."""

    def __init__(self, request_plan: RequestPlan) -> None:
        self._reused = request_plan.weigh_reused()
        self._asked = DuplicateFinder()

    def add(self, recalled: Recalled) -> None:
        """Count these rows."""
        to_post = recalled.asked & ~recalled.found
        self._asked.add_hashes(np.ascontiguousarray(recalled.fingerprint[to_post, 0]).view(np.int64))

    def reuse(self, job: Job, now: datetime, posted: Estimate, history: History | None) -> PlannedReuse:
        """The rows that have an earlier answer, and what all rows would cost; `posted` is the estimate of the others."""
        counted = self._reused
        summary = counted.sample.summary()
        saved = estimate(job, now, tokens.to_tokens(counted.units), counted.requests, summary, history)
        return PlannedReuse(rows=counted.requests, total_usd=add_ranges(posted.total_usd, saved.total_usd))

    def duplicates(self, job: Job, posted: Estimate, requests: int) -> Duplicates | None:
        """The rows that ask what one before them asks; None where there are none. `posted` is the estimate of `requests`."""
        rows = self._asked.repeats()
        self._asked.close()
        if not rows:
            return None
        once = job.reuse is not None and job.reuse.duplicates
        return Duplicates(rows=rows, usd=_share(posted.total_usd, rows / requests), asked_once=once)


def _share(cost: CostRange, share: float) -> CostRange:
    return CostRange(**{name: None if usd is None else usd * share for name, usd in cost.as_json().items()})


def added_reuse(parts: Sequence[PlannedReuse]) -> PlannedReuse | None:
    """That of a run's groups of requests together; None without any."""
    if not parts:
        return None
    return PlannedReuse(
        rows=sum(each.rows for each in parts),
        total_usd=reduce(add_ranges, (each.total_usd for each in parts)),
    )


def added_duplicates(parts: Sequence[Duplicates]) -> Duplicates | None:
    """The same of the rows that ask what another asks."""
    if not parts:
        return None
    return Duplicates(
        rows=sum(each.rows for each in parts),
        usd=reduce(add_ranges, (each.usd for each in parts)),
        asked_once=parts[0].asked_once,
    )
