"""The command `stats`: figures over a range of time."""

from __future__ import annotations

import sys
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from cyclopts import Parameter

from configs.clock import SystemClock
from configs.errors import ConfigError
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, AsJson, app, home
from flows.cli.terminal import OutputFormat

if TYPE_CHECKING:
    from tasks.usage.document import Usage

_By = Literal["model", "provider", "job", "day", "account"]


@app.command
def stats(
    *,
    by: Annotated[
        _By | None, Parameter(help="What to group by; by model unless told. The sum of all comes last.")
    ] = None,
    since: Annotated[
        str | None,
        Parameter(help="What ended within this time up to now, such as 7d or 12h; 30d unless told."),
    ] = None,
    first: Annotated[
        date | None,
        Parameter(name="--from", help="Instead: what ended from this day on, midnight in --zone."),
    ] = None,
    to: Annotated[date | None, Parameter(help="And up to this day, which is included.")] = None,
    job: Annotated[str | None, Parameter(help="Only the job of this name.")] = None,
    zone: Annotated[
        str | None, Parameter(help="IANA name of the time zone whose days are counted; UTC unless told.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool,
        Parameter(name="--csv", help="CSV on stdout; the row of all has `all` as its `by`.", negative=()),
    ] = False,
    as_prometheus: Annotated[
        bool,
        Parameter(
            name="--prometheus",
            help="Prometheus' text format on stdout: counters over all that the ledger knows.",
            negative=(),
        ),
    ] = False,
) -> int:
    """Show requests, failures, times, tokens, cost and reuse over a range of time.

    A batch counts when it ended, once its answers are read; a reused row when its run is finished. A batch API says no time of
    a single request, so times are those of whole batches (mean and 95th percentile weighted by their requests), and queue time
    ends with the first look that found the batch under way. A cost that is not known of every batch is shown as unknown.
    """
    chosen = terminal.output_format(as_json=as_json, as_csv=as_csv, as_prometheus=as_prometheus)
    if chosen is OutputFormat.PROMETHEUS:
        if any(option is not None for option in (by, since, first, to, zone)):
            raise ConfigError(
                "--prometheus: its counters hold all that the ledger knows, by every label; leave --by, --since, --from,"
                " --to and --zone out"
            )
        sys.stdout.write(_prometheus(job))
        return ALL_ANSWERED
    from tasks.usage.asked import ZONE, asked_usage
    from tasks.usage.document import By

    usage = asked_usage(
        home(),
        SystemClock(),
        By(by or get_args(_By)[0]),
        since=since,
        first=first,
        to=to,
        job=job,
        zone=zone or ZONE,
    )
    _show(usage, chosen)
    return ALL_ANSWERED


def _show(usage: Usage, chosen: OutputFormat | None) -> None:
    """Print the statistics; what is unknown in them is said on stderr."""
    from tasks.usage.table import COLUMNS, HEADINGS, cells, period_text, records, unpriced_text

    if chosen is OutputFormat.JSON:
        terminal.show_json(usage.as_json())
    elif chosen is not None:
        terminal.show_records(chosen, COLUMNS, records(usage))
    else:
        columns = (str(usage.by), *HEADINGS)
        # The less a column is asked for, the sooner it gives way.
        drop = ("reasoning", "cached", "saved", "reused", "queued", "failed", "per 1,000", "mean")
        terminal.show_table(columns, cells(usage), right=HEADINGS, drop=drop)
        terminal.say(f"nightmail: {period_text(usage)}")
    if text := unpriced_text(usage):
        terminal.say(f"nightmail: {text}")


def _prometheus(job: str | None) -> str:
    from tasks.runs.queries import open_ledger
    from tasks.usage.asked import check_job
    from tasks.usage.prometheus import as_prometheus

    ledger = open_ledger(home())
    check_job(ledger, job)
    return as_prometheus(ledger, job)
