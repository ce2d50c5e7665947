"""The command line's frame: its name, its exit codes, and the options that several commands have."""

from __future__ import annotations

import datetime
import os
from importlib.metadata import version
from typing import Annotated

from cyclopts import App, Parameter, validators

from configs.errors import ConfigError
from configs.home import Home

ALL_ANSWERED, ROWS_UNANSWERED, USAGE, NOT_FINISHED, INTERRUPTED = 0, 1, 2, 3, 130

app = App(
    name="nightmail",
    help="""Enrich a dataset through an LLM batch API: overnight, at half price, without losing a row or paying twice.

Start with the quick start, which needs no key and no network:

    nightmail run configs/jobs/quickstart.yaml

Exit codes: 0 all rows answered, 1 finished with rows unanswered, 2 usage or configuration error,
3 not finished yet (run the same command again), 130 interrupted (likewise).

State lives in NIGHTMAIL_HOME (default .nightmail); NIGHTMAIL_LEDGER_URL and NIGHTMAIL_RUNS_URL move it to
PostgreSQL and S3. Put --debug anywhere for tracebacks.""",
    help_format="plaintext",
    version=lambda: version("nightmail"),
    version_flags=["--version"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

JobFile = Annotated[str, Parameter(help="Path of the job file (YAML).")]
Day = Annotated[
    datetime.date | None, Parameter(name=["--date", "-d"], help="Logical date; yesterday by default.")
]
Key = Annotated[str | None, Parameter(name=["--key", "-k"], help="Name of the run, instead of the date.")]
Limit = Annotated[
    int | None,
    Parameter(name=["--limit", "-n"], help="At most this many rows.", validator=validators.Number(gte=1)),
]
Sets = Annotated[
    tuple[str, ...],
    Parameter(
        name=["--set", "-s"],
        help="Set a job key, e.g. --set prompt.model=gpt-5.4-mini. Repeatable.",
        negative=(),
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", help="JSON on stdout.", negative=())]
AsCsv = Annotated[bool, Parameter(name="--csv", help="CSV on stdout; for one run, its chunks.", negative=())]
AsMarkdown = Annotated[bool, Parameter(name="--markdown", help="The same as a Markdown table.", negative=())]


def prefect_server() -> bool:
    """Whether a Prefect server is configured; ConfigError when it is and does not answer."""
    import httpx
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        return False
    try:
        httpx.get(f"{url}/health", timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        raise ConfigError(
            f"PREFECT_API_URL: {url} does not answer ({type(error).__name__}); start that Prefect server,"
            " or unset it (also in the Prefect profile) to run without one"
        ) from error
    return True


def home() -> Home:
    return Home.from_environment(os.environ)
