"""Statistics as one published JSON document."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from tasks.stages.report.document import Document, Timestamp
from tasks.stages.report.receipt import ReusedAnswers, TokenSums


class By(StrEnum):
    """What statistics can be grouped by."""

    MODEL = "model"
    PROVIDER = "provider"
    JOB = "job"
    DAY = "day"
    ACCOUNT = "account"


class Figures(Document):
    """The figures of all batches that ended in a range of time, or of some of them.

    A batch API says no time of a single request: times are those of its batch, and count once for each of its requests.
    Real-time calls after a deadline are in all figures but the times.
    """

    batches: int = Field(description="Batches that ended and whose answers are read, refused ones left out.")
    refused_batches: int = Field(
        description="Batches that their provider refused as a whole and that were posted again or given up: a full queue, an"
        " unpaid account. Their requests count nowhere."
    )
    requests: int = Field(description="Requests in the batches: one row posted once is one.")
    answers: int = Field(description="Requests that the model answered.")
    failures: int = Field(description="Requests without an answer: failed, expired, cancelled, missing.")
    failure_rate: float | None = Field(description="`failures` of `requests`; null without requests.")
    batch_seconds_mean: float | None = Field(
        description="Mean time from posting to the end, as Nightmail saw it, real-time calls left out; null without any."
    )
    batch_seconds_p95: float | None = Field(description="The time that 95 of 100 requests keep to.")
    queue_seconds_mean: float | None = Field(
        description="Mean time from posting to the first look at which the batch was no longer queued; null where no look"
        " says."
    )
    tokens: TokenSums = Field(description="Tokens as the providers counted them.")
    cost_usd: float | None = Field(description="What the batches cost; null when that of any is unknown.")
    known_cost_usd: float = Field(description="The part of it that is known.")
    unpriced_batches: int = Field(
        description="Batches whose cost is unknown: their model has no price, a reply was lost, or their answers are not read"
        " yet."
    )
    usd_per_1000_answers: float | None = Field(
        description="`cost_usd` of 1,000 `answers`; null when it is unknown, or there are none."
    )
    reused: ReusedAnswers = Field(description="Of the runs that finished in the range.")


class Group(Document):
    """The figures of one model, provider, job, day or account."""

    name: str | None = Field(
        description="Which one; null for reused rows of runs that posted nothing and so name no account."
    )
    figures: Figures = Field(description="Its figures.")


class Usage(Document):
    """Statistics over a range of time. A batch counts when it ended, once its answers are read; a reused row when its run is
    finished."""

    version: Literal[1] = Field(1, description="Version of this format.")
    start: Timestamp | None = Field(description="Beginning of the range; null when it has none.")
    end: Timestamp | None = Field(description="Its end, left out; null when it has none.")
    zone: str = Field(description="IANA name of the time zone whose days are counted.")
    job: str | None = Field(description="Name of the one job that is counted; null for all.")
    by: By = Field(description="What the groups are.")
    total: Figures = Field(description="All together.")
    groups: tuple[Group, ...] = Field(
        description="The parts, by cost from the highest; days by date. Without any, nothing ended in the range."
    )
    days: tuple[Group, ...] = Field(
        description="Every day from the first to the last on which something ended, for a chart."
    )

    @property
    def zone_info(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.zone)
