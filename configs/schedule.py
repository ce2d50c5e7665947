"""The `schedule` section of the job file: when `nightmail deploy` lets a Prefect server start the job's runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from configs.frozen import Frozen, known_zone

_EXAMPLE = 'such as "30 22 * * *", 22:30 every day'
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_PARTS = ("minutes", "hours", "days", "months", "weekdays")  # as CronSim names what it has read
_DAY, _MONTH, _WEEKDAY = 2, 3, 4


class Schedule(Frozen):
    """When a Prefect server starts runs of the job. Each enriches the rows of the day before, in the job's time zone."""

    cron: str = Field(
        description="Minute, hour, day of the month, month, day of the week: `30 22 * * *`. Numbers, names (`mon`), `*`,"
        " lists, ranges and steps (`*/10`). What a Prefect server would read otherwise is refused."
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
            # Beside a day of the week, CronSim takes a date that no month has, on which Prefect's reader fails.
            CronSim(" ".join([*fields[:_WEEKDAY], "*"]), _ANY_TIME)
        except CronSimError as error:
            raise ValueError(f"{error}; write an expression {_EXAMPLE}") from error
        if difference := next(_read_otherwise(fields), None):
            raise ValueError(difference)
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


def _read_otherwise(fields: Sequence[str]) -> Iterator[str]:
    """What Prefect's server, which has a reader of its own, refuses or takes for other times, and what to write instead."""
    day, weekday = fields[_DAY].upper(), fields[_WEEKDAY].upper()
    for one, other, every in ((day, weekday, "1-31"), (weekday, day, "0-6")):
        if "*" in one and one != "*" and other != "*":
            yield (
                f"{one} beside {other} asks for both days, and a Prefect server starts on either; write * for one of them, or"
                f" {one.replace('*', every)} for either"
            )
    if "L" in day and day != "L":
        yield f"a Prefect server does not know {day}; write L alone, the last day of the month, or days such as 1,15"
    if "L" in weekday:
        yield f"a Prefect server does not know {weekday}; write days of the week such as fri, or fri#4"
    if "#" in weekday and (day != "*" or not all("#" in term for term in weekday.split(","))):
        yield (
            f"a Prefect server does not know {weekday} beside {day}; write # in each day of the week, as in mon#1,fri#1, and *"
            " for the day of the month"
        )
    for field, text in enumerate(fields):
        for term in text.split(","):
            first, slash, _ = term.partition("/")
            if first == "*" or not (slash or "-" in first):
                continue
            if field == _WEEKDAY and "-" not in first:  # up to Saturday there, to Sunday here
                yield f"{term} in the day of the week has no end; write one, such as 1-5/2"
            elif len(_values(field, first if "-" in first else f"{first}/1")) == 1:  # there, all values
                yield f"{term} ends where it begins; write {first.partition('-')[0]}"
    days, months = _values(_DAY, day), _values(_MONTH, fields[_MONTH])
    for length in (28, 29) if {2, 3} <= months else ():
        # There, the next day that February does not have is counted on from its end, past those at the beginning of March.
        skipped = min((each - length for each in days if each > length), default=0)
        if length not in days and any(0 < each < skipped for each in days):
            yield f"with {day}, a Prefect server leaves out 1 March; write no day after the 28th, as in 1-28/10"


def _values(field: int, text: str) -> set[int]:
    """The values that a field allows."""
    fields = ["*"] * len(_PARTS)
    fields[field] = text
    values: set[int] = getattr(CronSim(" ".join(fields), _ANY_TIME), _PARTS[field])
    return values
