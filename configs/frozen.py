"""What the models of the job file share: they are frozen, refuse unknown keys, and write durations alike."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*[smhd]$")]
Window = Annotated[str, Field(pattern=r"^[1-9][0-9]*[hd]$")]


class Frozen(BaseModel):
    """A section of the job file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def seconds(duration: str) -> float:
    """A duration such as `90m` in seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]
