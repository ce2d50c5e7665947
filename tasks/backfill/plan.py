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
from tasks.runs.receipts import receipt_of
from tasks.runs.request import Order, place_order
from tasks.stages.read import rows_for_free


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
    receipt = receipt_of(run) if run else None
    return {
        "date": day.isoformat(),
        "state": ("done" if run.state is RunState.FINISHED else str(run.state)) if run else "not bought",
        "rows": receipt and receipt.rows.total,
        "unanswered": receipt and receipt.rows.unanswered,
        "cost": receipt and receipt.cost_usd,
        "output": receipt and receipt.output,
        "report": receipt and receipt.report,
    }


def _night(order: Order, ledger: Ledger | None) -> Night:
    run = ledger.latest_run(order.job.name, order.key) if ledger else None
    if run is None or ledger is None:
        try:
            return Night(order.day, NightState.TO_BUY, rows_for_free(order.job.source))
        except InputError as error:
            return Night(order.day, NightState.NO_SOURCE, problem=str(error))
    state = NightState.DONE if run.state is RunState.FINISHED else NightState.UNFINISHED
    rows = sum(chunk.rows for chunk in ledger.chunks(run.id)) or None
    posted = sum(batch.batch_id is not None for batch in ledger.batches(run.id))
    return Night(order.day, state, rows, posted, "" if state is NightState.DONE else f"is {run.state}")
