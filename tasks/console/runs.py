"""The pages *Runs* and *Run*, and the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from configs.errors import NightmailError
from configs.job import Job
from tasks.console.context import Console, console_of
from tasks.console.paging import SIZE, Paging
from tasks.console.render import page
from tasks.console.run_actions import offers
from tasks.console.standing import Standing, standing_of
from tasks.ledger.leases import describe_owner
from tasks.ledger.listing import RunSearch
from tasks.ledger.records import BatchRecord, RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState
from tasks.runs.budgets import budget_states
from tasks.runs.receipts import receipt_of
from tasks.runs.report_page import batch_view, sample_rows, source_columns
from tasks.stages.report.page import summary
from tasks.stages.report.page.batches import Timeline, select_batches, timeline
from tasks.stages.report.page.samples import Sample
from tasks.stages.report.receipt import Receipt

_BARS = 40
_EVENTS = 100


def home(_request: Request) -> Response:
    """The address without a path leads to the runs."""
    return RedirectResponse("/runs", 307)


def runs_page(request: Request) -> Response:
    """The runs, newest first."""
    console = console_of(request)
    given = request.query_params
    search = RunSearch(text=given.get("search", "").strip(), state=given.get("state", ""))
    ledger, now = console.ledger, console.clock.now()
    total = ledger.listing.count_runs(search) if ledger else 0
    paging = Paging.of(given.get("page", ""), total, {"search": search.text, "state": search.state})
    lines = ledger.listing.runs(search, SIZE, paging.offset) if ledger else ()
    standings = {line.run.id: standing_of(line.run, line, now) for line in lines}
    return page(
        request,
        "runs",
        lines=lines,
        search=search,
        paging=paging,
        states=list(RunState),
        standings=standings,
        needed={run_id for run_id, standing in standings.items() if standing.need},
    )


def run_page(request: Request) -> Response:
    """One run: how it stands, its report, batches, history, and what can be done with it."""
    console = console_of(request)
    ledger, run = console.run(request.path_params["run"])
    job = Job.model_validate(run.spec)
    (line,) = ledger.listing.lines_of([run])
    batches, receipt, now = ledger.batches(run.id), receipt_of(run), console.clock.now()
    standing = standing_of(run, line, now)
    return page(
        request,
        "run",
        run=run,
        line=line,
        standing=standing,
        **_report(receipt),
        properties=summary.properties(receipt, job.zone) if receipt else _properties(run, job, standing),
        budgets=budget_states(job, ledger, run.id, now),
        failed=[batch for batch in batches if batch.error_code or batch.error_message][:_BARS],
        batch_count=len(batches),
        timeline=_timeline(batches, now),
        history=ledger.history(run.id, _EVENTS)[::-1],
        offers=offers(run, line, console),
        worker=_worker(run, standing),
    )


def _report(receipt: Receipt | None) -> dict[str, Any]:
    """What the report says of a finished run; nothing of one that has no receipt yet."""
    if receipt is None:
        return {"receipt": None, "headline": None, "headline_class": "", "figures": (), "status_rows": ()}
    return {
        "receipt": receipt,
        "headline": summary.headline(receipt, stopped=False),
        "headline_class": summary.headline_class(receipt, stopped=False),
        "figures": summary.figures(receipt),
        "status_rows": list(summary.status_rows(receipt)),
    }


def _worker(run: RunRecord, standing: Standing) -> str | None:
    """The process that works on it now."""
    return describe_owner(run.lease_owner) if standing.held and run.lease_owner else None


def _properties(run: RunRecord, job: Job, standing: Standing) -> list[summary.RunProperty]:
    """The facts about a run that has no receipt yet."""
    facts = (
        ("Source", job.source.path, True),
        ("Output", job.output.path, True),
        ("Model", job.prompt.model, True),
        ("Provider", job.provider.name, False),
        ("Logical date", run.logical_date.isoformat(), False),
        ("Run", run.id, True),
        ("Run folder", run.folder, True),
        ("Held by", _worker(run, standing) or "nobody", False),
    )
    return [summary.RunProperty(*fact) for fact in facts]


def _timeline(batches: Sequence[BatchRecord], now: datetime) -> Timeline | None:
    views = [batch_view(batch) for batch in batches]
    return timeline(select_batches(views, _BARS), now, ZoneInfo("UTC"))


def rows_page(request: Request) -> Response:
    """A few rows of a run before and after, from its merged chunks."""
    console = console_of(request)
    ledger, run = console.run(request.path_params["run"])
    samples: list[Sample] = []
    problem = None
    try:
        samples = _samples(console, ledger, run)
    except (NightmailError, OSError, ValueError) as error:
        problem = str(error)
    return page(request, "rows", run=run, samples=samples, problem=problem)


def _samples(console: Console, ledger: Ledger, run: RunRecord) -> list[Sample]:
    job, folder = Job.model_validate(run.spec), console.folder(run)
    merged = [chunk for chunk in ledger.chunks(run.id) if chunk.state is ChunkState.MERGED]
    return sample_rows(folder, job, merged, source_columns(folder, job, merged))
