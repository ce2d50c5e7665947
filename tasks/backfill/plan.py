"""What a backfill would do: every date against the ledger and the source's metadata. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from configs.clock import Clock
from configs.errors import InputError
from configs.home import Home
from tasks.backfill.dates import Night, NightState
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState
from tasks.runs.queries import open_ledger
from tasks.runs.request import Order, place_order
from tasks.stages.read import row_count_without_reading
from tasks.stages.report.receipt import unanswered


def survey(job: str, days: Sequence[date], overrides: Sequence[str], home: Home, clock: Clock) -> list[Night]:
    """One entry a date. Raises ConfigError for a job file that is wrong; a missing source is its date's own."""
    ledger = open_ledger(home)
    orders = (place_order(job, home, clock, day=day, overrides=overrides) for day in days)
    return [_night(order, ledger) for order in orders]


def as_rows(nights: Sequence[Night]) -> list[dict[str, Any]]:
    """The plan as a table."""
    return [
        {
            "date": night.day.isoformat(),
            "state": str(night.state),
            "rows": night.rows,
            "batches": night.batches,
            "note": night.problem,
        }
        for night in nights
    ]


def outcome(job: str, day: date, home: Home) -> dict[str, Any]:
    """What came of a date, from the ledger: state, rows, unanswered, cost, output."""
    ledger = open_ledger(home)
    run = ledger.latest_run(job, day.isoformat()) if ledger else None
    receipt = run.receipt if run and run.receipt else {}
    return {
        "date": day.isoformat(),
        "state": ("done" if run.state is RunState.FINISHED else str(run.state)) if run else "not bought",
        "rows": receipt.get("rows", {}).get("total"),
        "unanswered": unanswered(receipt) if receipt else None,
        "cost": receipt.get("cost_usd"),
        "output": receipt.get("output"),
        "report": receipt.get("report"),
    }


def _night(order: Order, ledger: Ledger | None) -> Night:
    run = ledger.latest_run(order.job.name, order.key) if ledger else None
    if run is None or ledger is None:
        try:
            return Night(order.day, NightState.TO_BUY, row_count_without_reading(order.job.source))
        except InputError as error:
            return Night(order.day, NightState.NO_SOURCE, problem=str(error))
    state = NightState.DONE if run.state is RunState.FINISHED else NightState.UNFINISHED
    rows = sum(chunk.rows for chunk in ledger.chunks(run.id)) or None
    posted = sum(batch.batch_id is not None for batch in ledger.batches(run.id))
    return Night(order.day, state, rows, posted, "" if state is NightState.DONE else f"is {run.state}")
