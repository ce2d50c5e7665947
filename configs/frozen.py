"""The base class of the job file's sections, and the format of durations."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_LONGEST_DAYS = 3_650  # ten years; a date plus it is still one


def seconds(duration: str) -> float:
    """Convert a duration such as `90m` to seconds. ValueError for one that no date can be counted on by."""
    total = int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]
    if total > _LONGEST_DAYS * 86_400:
        raise ValueError(f"at most {_LONGEST_DAYS}d")
    return total


def _countable(duration: str) -> str:
    seconds(duration)
    return duration


def known_zone(name: str) -> str:
    """The name of a time zone; ValueError for one that there is not."""
    if name != "UTC" and name not in available_timezones():
        raise ValueError(f"unknown time zone {name!r}; use an IANA name such as Asia/Tokyo")
    return name


# Every number of the job file has a lower and an upper bound: what is counted fits into 64 bits, what is waited for into a
# date. Strict: `true` is no 1, and a text is no number.
Count = Annotated[int, Field(strict=True, ge=1, le=10**12)]
Interval = Annotated[float, Field(strict=True, ge=0.001, le=30 * 86_400)]
"""Seconds between two looks."""
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,9}[smhd]$"), AfterValidator(_countable)]
Window = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,9}[hd]$"), AfterValidator(_countable)]


class Frozen(BaseModel):
    """Base class of the sections of the job file: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
