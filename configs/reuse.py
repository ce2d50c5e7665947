"""The `reuse` section of the job file: which answers of earlier runs are taken instead of asking again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool

from configs.frozen import Duration, Frozen

PoorAnswer = Literal["truncated", "refused", "invalid"]


class Reuse(Frozen):
    """A row whose request was answered in an earlier run of the job gets that answer, and is not posted.

    `true` is the same as all defaults.
    """

    max_age: Duration | None = Field(
        None,
        description="Answers older than this are asked anew, and `nightmail clean` keeps a run's folder as long as it holds"
        " younger ones; null takes whatever the folders that `run.keep` keeps hold.",
    )
    also: tuple[PoorAnswer, ...] = Field(
        (), description="Statuses whose answers are taken too, and keep their status; otherwise asked anew."
    )
    duplicates: StrictBool = Field(
        False,
        description="What several rows of a chunk ask is asked once, for the first of them; the others get its outcome.",
    )


def _switch(value: Any) -> Any:
    """`true` and `false` as what they stand for."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


ReuseSection = Annotated[Reuse | None, BeforeValidator(_switch, json_schema_input_type=bool | Reuse | None)]
