"""The base class of the job file's sections, and the format of durations."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*[smhd]$")]
Window = Annotated[str, Field(pattern=r"^[1-9][0-9]*[hd]$")]


class Frozen(BaseModel):
    """Base class of the sections of the job file: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def seconds(duration: str) -> float:
    """Convert a duration such as `90m` to seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]
