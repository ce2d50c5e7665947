"""What a person or a schedule asks for. Every option that the command line and Prefect's forms share is a field here.

A field is its name, its type, its default and its help: add one, and every door that takes the class has it.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from configs.options import Option
from configs.providers.registry import PROVIDERS

ROOT = Path(__file__).resolve().parents[1]
DateOrder = Literal["oldest first", "newest first"]


def job_files() -> list[str]:
    """The job files in configs/jobs, as paths from the root of the checkout."""
    return sorted(f.relative_to(ROOT).as_posix() for f in (ROOT / "configs/jobs").glob("*.y*ml"))


def provider_names() -> list[str | None]:
    """What `provider.name` of a job file can be, and null for what it is."""
    return [*PROVIDERS, None]


@dataclass(frozen=True)
class RunRequest:
    """One run of a job: for which date, and what is different this time from what the job file says.

    An empty text, 0 and None say the same: not given.
    """

    job: Annotated[str, Option("Path of the job file (YAML).", choices=job_files)]
    _: KW_ONLY
    date: Annotated[
        datetime.date | None,
        Option(
            "Logical date; by default the day before the run is due, in the job's time zone.",
            flags=("--date", "-d"),
            shown_with_none=True,
        ),
    ] = None
    provider: Annotated[
        str | None,
        Option(
            "Another batch service than the job's.",
            flags=("--provider", "-p"),
            choices=provider_names,
        ),
    ] = None
    model: Annotated[str | None, Option("Another model than the job's; empty for the job's own.")] = ""
    limit: Annotated[
        int | None,
        Option("At most this many rows; 0 for all of them.", flags=("--limit", "-n"), minimum=0),
    ] = 0
    dry_run: Annotated[bool, Option("Say what would be done; write and post nothing.")] = False
    key: Annotated[str | None, Option("Name of the run; empty for the date.", flags=("--key", "-k"))] = ""
    redo: Annotated[bool, Option("Do a finished run again and replace its output.")] = False
    retry: Annotated[
        bool,
        Option("Ask a finished run's unanswered rows again, where that can help; the others are kept."),
    ] = False
    snapshot: Annotated[
        bool, Option("Go on with the rows as they were read, though the source has changed since.")
    ] = False
    overrides: Annotated[
        tuple[str, ...] | None,
        Option(
            "A key of the job and its value for this run, such as prompt.params.temperature=0. Repeatable;"
            " wins over provider, model and limit.",
            flags=("--set", "-s"),
        ),
    ] = ()

    @property
    def job_path(self) -> str:
        """The job file's path as it is or, where the working folder has none, from the root of the checkout."""
        return job_path(self.job)

    @property
    def job_overrides(self) -> list[str]:
        """What to change of the job, as `key=value` items: the options of their own, then `overrides`, which win."""
        given = {
            "provider.name": self.provider,
            "prompt.model": self.model,
            "source.limit": self.limit,
        }
        return [
            *(f"{key}={json.dumps(value)}" for key, value in given.items() if value),
            *(self.overrides or ()),
        ]

    @property
    def parameters(self) -> dict[str, Any]:
        """What to call a flow with: the job, and the options that were given."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, kw_only=True)
class DateRange:
    """The dates of a backfill, and how they are gone through."""

    start: Annotated[datetime.date, Option("First date.")]
    end: Annotated[datetime.date, Option("Last date.")]
    max_parallel: Annotated[
        int,
        Option("At most this many dates at a time; one, where they replace each other's output.", minimum=1),
    ] = 2
    order: Annotated[DateOrder, Option("Which dates come first.")] = "oldest first"
    only_missing: Annotated[
        bool, Option("Leave finished dates alone, except those that redo or retry is for.")
    ] = True


def job_path(job: str) -> str:
    """A job file's path as it is or, where the working folder has none, from the root of the checkout."""
    path = Path(job)
    return job if path.is_absolute() or path.exists() or not (ROOT / path).exists() else str(ROOT / path)
