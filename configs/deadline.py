"""The `deadline` section of the job file: when a run stops waiting for its batches, and how the rest is asked then."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from configs.budgets import Usd
from configs.frozen import Count, Duration, Frozen, seconds

Lane = Literal["flex", "standard"]
"""A price and pace of a provider's real-time calls."""


class Deadline(Frozen):
    """After this moment the run cancels its open batches, keeps what they answered, and asks the remaining rows by real-time
    calls, which cost about twice as much. A chunk goes as a whole: one whose remaining rows the caps do not carry stays in its
    batch, or is posted as one. Give `at` or `after`, and `max_rows` or `max_usd`.
    """

    at: str | None = Field(
        None,
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        description='Time of day in the job\'s time zone, in quotes: "06:00" is the next such time after the run began.',
    )
    after: Duration | None = Field(None, description="The same as a time since the run began.")
    lane: Lane = Field(
        "standard",
        description="Which real-time calls: standard ones, or OpenAI's flex processing (`service_tier: flex`), which is cheaper,"
        " slower, and offered for some models.",
    )
    max_rows: Count | None = Field(None, description="Most rows that real-time calls are made for in a run.")
    max_usd: Usd | None = Field(
        None,
        description="Most that they may cost in a run; what is under way counts with the most it may cost.",
    )
    concurrency: int = Field(8, strict=True, ge=1, le=1_000, description="Calls at a time.")

    @field_validator("at", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        if isinstance(value, int):  # YAML reads 22:30 as a number in base 60
            raise ValueError(  # noqa: TRY004 - pydantic reports this one
                'write it in quotes, like "22:30"'
            )
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Deadline:
        if (self.at is None) == (self.after is None):
            raise ValueError('give either at, like "06:00", or after, like 8h')
        if self.max_rows is None and self.max_usd is None:
            raise ValueError("real-time calls cost about twice as much; give max_rows or max_usd, or both")
        return self

    def moment(self, began: datetime, zone: ZoneInfo) -> datetime:
        """When it is, for a run that began at that time."""
        if self.after is not None:
            return began + timedelta(seconds=seconds(self.after))
        return _next_time(time.fromisoformat(self.at or ""), began, zone)


def _next_time(wall: time, after: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after `after` when clocks in `zone` show that time. Where they skip it, by as much later; where they
    show it twice, either counts."""
    day = after.astimezone(zone).date()
    for days in (0, 1, 2):
        for fold in (0, 1):
            shown = datetime.combine(day + timedelta(days=days), wall, zone).replace(fold=fold)
            moment = shown.astimezone(UTC)
            is_shown = moment.astimezone(zone).time() == wall
            if moment > after and (is_shown or fold == 0):
                return moment
    raise AssertionError("every time of day comes within two days")
