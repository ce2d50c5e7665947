"""The options of runs and backfills, shared by the command line and Prefect's forms.

Each field declares an option's name, type, default and help: a new field appears in every command and form that takes
the class.
"""

from __future__ import annotations

import datetime
import math
import os
import shlex
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from configs.home import JOBS_VARIABLE, Home
from configs.options import Option, options
from configs.places import is_url

ROOT = Path(__file__).resolve().parents[1]
DateOrder = Literal["oldest first", "newest first"]


def module_search_path() -> str:
    """PYTHONPATH of a new process that is to find this package, also from a checkout that is not installed."""
    return os.pathsep.join([str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def is_job_name(name: str) -> bool:
    """Whether a file of this name is a job file. Hidden ones are not: editors leave copies and locks beside a file."""
    return name.endswith((".yaml", ".yml")) and not name.startswith(".")


def job_files(folder: str | Path) -> list[str]:
    """The job files in a folder of this machine: paths from the root of the checkout where they lie in it, else absolute ones."""
    # Run from elsewhere, or by another worker's checkout, what is in the checkout has to be found there.
    found = Path(folder).absolute().glob("*")
    files = (file for file in found if is_job_name(file.name) and file.is_file())
    return sorted((f.relative_to(ROOT) if f.is_relative_to(ROOT) else f).as_posix() for f in files)


def job_choices() -> list[str] | None:
    """The jobs for a choice in a form. None, for a field of text, where they are in an object store: Prefect makes the form
    whenever the flow is imported, and an import asks nobody."""
    url = os.environ.get(JOBS_VARIABLE) or Home.jobs_url
    return None if is_url(url) else job_files(url)


def provider_names() -> list[str | None]:
    """The provider names for a choice in a form; null stands for the job's own."""
    # Not at the top: it brings pydantic along, and `nightmail status` does without.
    from configs.providers.registry import PROVIDERS

    return [*PROVIDERS, None]


@dataclass(frozen=True)
class RunRequest:
    """The request for one run of a job: its date or key, and what differs from the job file.

    An empty text, 0 and None all mean "not given": Prefect's forms cannot leave a text or number field empty.
    """

    job: Annotated[
        str,
        Option("Path or URL of the job file (YAML), or of a file of requests (JSONL).", choices=job_choices),
    ]
    _: KW_ONLY
    date: Annotated[
        datetime.date | None,
        Option(
            "Logical date; by default the day before the run's scheduled start, in the job's time zone.",
            flags=("--date", "-d"),
            shown_with_none=True,
        ),
    ] = None
    provider: Annotated[
        str | None,
        Option(
            "Batch service to use instead of the job's.",
            flags=("--provider", "-p"),
            choices=provider_names,
        ),
    ] = None
    model: Annotated[str | None, Option("Model to use instead of the job's; empty for the job's own.")] = ""
    limit: Annotated[
        int | None,
        Option(
            "Only so many rows, as a trial that publishes beside the job's output; 0 for all.",
            flags=("--limit", "-n"),
            minimum=0,
        ),
    ] = 0
    dry_run: Annotated[bool, Option("Only show what would be done; write and post nothing.")] = False
    key: Annotated[str | None, Option("Name of the run; empty for the date.", flags=("--key", "-k"))] = ""
    redo: Annotated[bool, Option("Repeat a finished run: ask every row again and replace the output.")] = (
        False
    )
    retry: Annotated[
        bool,
        Option("Post those rows of a finished run again that retry.on names; other rows keep their answers."),
    ] = False
    snapshot: Annotated[
        bool, Option("Resume with the rows as they were read, although the source has changed since.")
    ] = False
    overrides: Annotated[
        tuple[str, ...] | None,
        Option(
            "Set a key of the job file for this run, such as prompt.params.temperature=0. Repeatable;"
            " overrides provider, model and limit.",
            flags=("--set", "-s"),
        ),
    ] = ()

    @property
    def job_path(self) -> str:
        """The job file's path as it is or, where the working folder has none, from the root of the checkout."""
        return job_path(self.job)

    @property
    def job_overrides(self) -> list[str]:
        """The changes to the job as `key=value` items: first from own options, then `overrides`, which win."""
        given_options = {"provider.name": self.provider, "prompt.model": self.model}
        return [
            *(override(key, value) for key, value in given_options.items() if value),
            *([f"source.limit={self.limit}"] if self.limit else ()),
            *(self.overrides or ()),
        ]

    @property
    def is_trial(self) -> bool:
        """Whether this is a trial of some rows, which never replaces what a real run published."""
        return bool(self.limit)

    def command(self, limit: int | None) -> str:
        """The command line that runs this, with that limit."""
        words = ["nightmail", "run", self.job_path]
        for name, option in options(RunRequest).items():
            value = limit if name == "limit" else getattr(self, name)
            if not value or name in ("job", "dry_run"):
                continue
            flag = option.flags[0] if option.flags else f"--{name.replace('_', '-')}"
            for item in value if isinstance(value, tuple) else (value,):
                words += [flag] if item is True else [flag, str(item)]
        return shlex.join(words)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters to call the flow with: the job and the given options."""
        given_options = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given_options.items() if value}


@dataclass(frozen=True, kw_only=True)
class DateRange:
    """The dates of a backfill, and in which order and how many at a time they run."""

    start: Annotated[datetime.date, Option("First date.")]
    end: Annotated[datetime.date, Option("Last date.")]
    max_parallel: Annotated[
        int,
        Option("Maximum number of dates at a time; one if several write the same output.", minimum=1),
    ] = 2
    order: Annotated[DateOrder, Option("Which dates to run first.")] = "oldest first"
    only_missing: Annotated[bool, Option("Leave out finished dates, except those with redo or retry.")] = True


def override(key: str, text: str) -> str:
    """The `key=value` item of `overrides` that gives a key this text, whatever characters it has."""
    import yaml  # `nightmail status` does without

    # Quoted, or ` #` would begin a comment and `: ` a mapping. Not by json.dumps: YAML does not join the two halves in which
    # JSON writes an emoji, and refuses others that JSON leaves as they are.
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return f"{key}={quoted.rstrip()}"


def job_path(job: str) -> str:
    """A job file's path as it is or, where the working folder has none, from the root of the checkout."""
    path = Path(job)
    known = is_url(job) or path.is_absolute() or path.exists() or not (ROOT / path).exists()
    return job if known else str(ROOT / path)
