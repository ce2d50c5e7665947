"""Read runs, chunks and batches from the ledger as plain dicts, for `status` and `batches`. Never creates a ledger."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from configs.clock import SystemClock
from configs.errors import ConfigError
from configs.home import Home
from configs.trials import trial_key
from tasks.ledger import database
from tasks.ledger.listing import BatchSearch, RunLine, RunSearch
from tasks.ledger.records import BatchRecord, ChunkRecord, RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import INACTIVE
from tasks.runs.history import revision
from tasks.runs.receipts import receipt_of

# Columns of the CSV and Markdown tables; the names are those of the JSON. Programs read these files: a column may be added
# at the end, and none is renamed or moved.
RUN_COLUMNS = (
    "run",
    "job",
    "key",
    "state",
    "rows",
    "answered",
    "chunks_merged",
    "chunks_total",
    "since",
    "finished_at",
    "held_by",
    "waiting_for",
)
CHUNK_COLUMNS = (
    "number",
    "first_row",
    "rows",
    "state",
    "attempt",
    "requests",
    "bytes",
    "tokens_estimate",
    "not_before",
    "waiting_for",
)
BATCH_COLUMNS = (
    "batch",
    "run",
    "chunk",
    "attempt",
    "status",
    "requests",
    "completed",
    "failed",
    "posted",
    "ended",
    "cost",
    "error",
    "submission_key",
    "file",
    "account",
    "model",
    "lane",
)

_RUNS_SHOWN, _BATCHES_SHOWN = 20, 100


def open_ledger(home: Home) -> Ledger | None:
    """The ledger; None if none has been created yet."""
    return Ledger(home.ledger_url, SystemClock()) if database.exists(home.ledger_url) else None


def ledger_to_read(home: Home) -> Ledger | None:
    """The ledger for a reader that may write nothing; None also while it has the schema of an earlier version."""
    if not database.exists(home.ledger_url):
        return None
    found, newest = database.revisions(home.ledger_url)
    return Ledger(home.ledger_url, SystemClock()) if found == newest else None


def find_run(ledger: Ledger | None, name: str) -> RunRecord:
    """Find a run by its id, by `job/key` (the newest), or by the flow run that began it; ConfigError if there is none.

    Where a key has only been tried, `job/key` is its trial.
    """
    job, _, key = name.partition("/")
    run = (
        (
            ledger.get_run(name)
            or ledger.latest_run(job, key)
            or ledger.latest_run(job, trial_key(key))
            or ledger.run_of_origin(name)
        )
        if ledger
        else None
    )
    if run is None:
        latest = ", ".join(f"{run.job}/{run.key}" for run in (ledger.recent_runs(3) if ledger else ()))
        raise ConfigError(
            f"{name}: no such run; {f'the latest are {latest}' if latest else 'there are none yet'}"
        )
    return run


def list_runs(home: Home) -> list[dict[str, Any]]:
    """The latest runs, newest first."""
    ledger = open_ledger(home)
    if ledger is None:
        return []
    return [_run_row(line) for line in ledger.listing.runs(RunSearch(), _RUNS_SHOWN)]


def describe_run(home: Home, name: str) -> dict[str, Any]:
    """One run with its chunks, batches and events."""
    ledger = open_ledger(home)
    run = find_run(ledger, name)
    assert ledger is not None
    chunks, batches = ledger.chunks(run.id), ledger.batches(run.id)
    return {
        **_run_row(*ledger.listing.lines_of([run])),
        "generation": run.generation,
        "folder": run.folder,
        "approved_at": run.approved_at,
        "approved_by": run.approved_by,
        "preparing": run.preparing,
        "budgets": _budgets(ledger, run, chunks),
        "receipt": receipt_of(run),
        "estimate": run.estimate,
        "revision": revision(run, chunks, batches),
        "chunk_list": [asdict(chunk) for chunk in chunks],
        "batches": [_batch_row(batch, f"{run.job}/{run.key}") for batch in batches],
        "history": [asdict(event) for event in ledger.history(run.id)],
    }


def _budgets(ledger: Ledger, run: RunRecord, chunks: tuple[ChunkRecord, ...]) -> list[dict[str, Any]]:
    from configs.job import Job
    from tasks.runs.budgets import budget_states_of  # brings the prices along, and numpy: lists do without
    from tasks.runs.chunk_job import jobs_by_model

    jobs = jobs_by_model(Job.model_validate(run.spec), chunks).values()
    states = budget_states_of(jobs, ledger, run.id, SystemClock().now())
    return [state.as_json() for state in states]


def list_batches(home: Home, search: str) -> tuple[list[dict[str, Any]], int]:
    """The newest batches of all runs in which `search` is found (see `BatchSearch`), and how many there are of them in all."""
    ledger = open_ledger(home)
    if ledger is None:
        return [], 0
    wanted = BatchSearch(search)
    lines = ledger.listing.batches(wanted, _BATCHES_SHOWN)
    rows = [_batch_row(line.batch, f"{line.job}/{line.key}") for line in lines]
    return rows, ledger.listing.count_batches(wanted)


def _run_row(line: RunLine) -> dict[str, Any]:
    run, waiting_for = line.run, line.waiting_for
    if run.paused_until is not None and run.state not in INACTIVE:
        waiting_for = f"paused until {run.paused_until:%Y-%m-%d %H:%M} UTC: {run.pause_reason}"
    elif run.preparing:
        waiting_for = run.preparing
    receipt = receipt_of(run)
    return {
        "run": run.id,
        "job": run.job,
        "key": run.key,
        "state": str(run.state),
        "rows": line.rows,
        "answered": receipt.rows.answered if receipt else None,
        "chunks": f"{line.merged}/{line.chunks}",
        "chunks_merged": line.merged,  # a spreadsheet takes 1/12 for a date
        "chunks_total": line.chunks,
        "since": run.created_at,
        "finished_at": run.finished_at,
        "held_by": run.lease_owner,
        "waiting_for": waiting_for,
    }


def _batch_row(batch: BatchRecord, run: str) -> dict[str, Any]:
    return {
        "batch": batch.batch_id,
        "run": run,
        "chunk": batch.chunk,
        "attempt": batch.attempt,
        "status": batch.status or "intended",
        "requests": batch.requests,
        "completed": batch.completed,
        "failed": batch.failed,
        "posted": batch.submitted_at,
        "ended": batch.ended_at,
        "cost": batch.cost_usd,
        "error": batch.error_text or batch.error_code,
        "submission_key": batch.submission_key,
        "file": batch.file_id,
        "account": batch.account,
        "model": batch.model,
        "lane": batch.lane,
    }
