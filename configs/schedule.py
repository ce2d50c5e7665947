"""The `schedule` section of the job file: when `nightmail deploy` lets a Prefect server start the job's runs."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from configs.frozen import Frozen, known_zone

_EXAMPLE = 'such as "30 22 * * *", 22:30 every day'
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


class Schedule(Frozen):
    """When a Prefect server starts runs of the job. Each enriches the rows of the day before, in the job's time zone."""

    cron: str = Field(
        description="Minute, hour, day of the month, month, day of the week: `30 22 * * *`. Numbers, names (`mon`), `*`,"
        " lists, ranges and steps (`*/10`)."
    )
    timezone: str | None = Field(
        None, description="IANA name of the zone of these times; the job's by default."
    )
    active: bool = Field(
        True, strict=True, description="Off, its times are kept on the server, and nothing starts."
    )

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        fields = value.split()
        if len(fields) != 5:  # with a sixth, CronSim's first ones are seconds
            raise ValueError(f"is no cron expression of five fields; write one {_EXAMPLE}")
        line = " ".join(fields)
        try:
            CronSim(line, _ANY_TIME)
        except CronSimError as error:
            raise ValueError(f"{error}; write an expression {_EXAMPLE}") from error
        return line

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return value if value is None else known_zone(value)


def next_start(schedule: Schedule, zone: str, now: datetime) -> datetime | None:
    """When the next run starts, by clocks of the schedule's zone or else of `zone`; None while it is off."""
    if not schedule.active:
        return None
    return next(CronSim(schedule.cron, now.astimezone(ZoneInfo(schedule.timezone or zone))), None)
