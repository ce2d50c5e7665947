"""When the last sweep was completed, and whether that is too long ago. Reads only, and makes no ledger."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from configs.clock import Clock
from configs.home import Home
from tasks.ledger.sweeps import Sweeps
from tasks.ledger.transitions import INACTIVE
from tasks.runs.queries import open_ledger

TOO_OLD = timedelta(minutes=30)
"""As long as the automation waits that tells of missing sweeps: three of them in a row."""


def describe_last_sweep(home: Home, clock: Clock) -> str | None:
    """A line for people; None where nobody sweeps and nothing needs it: runs that were all begun at a terminal."""
    ledger = open_ledger(home)
    if ledger is None:
        return None
    completed = Sweeps(home.ledger_url, clock).last_completed()
    unfinished = [run for run in ledger.recent_runs(limit=sys.maxsize) if run.state not in INACTIVE]
    if completed is None:
        deployed = sum(run.origin is not None for run in unfinished)
        return _warning("no sweep was ever completed", deployed) if deployed else None
    text = f"last sweep completed {_ago(completed, clock.now())}"
    too_old = clock.now() - completed > TOO_OLD
    return _warning(text, len(unfinished)) if too_old and unfinished else text


def _warning(text: str, unfinished: int) -> str:
    runs = "1 run is" if unfinished == 1 else f"{unfinished} runs are"
    return (
        f"warning: {text}, and {runs} unfinished; what is stuck stays so: look after the worker of the deployment"
        " `sweep`, or run `nightmail sweep --every 10m`"
    )


def _ago(then: datetime, now: datetime) -> str:
    minutes = int((now - then).total_seconds() // 60)
    ago = f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h ago"
    return f"{ago} ({then:%Y-%m-%d %H:%M} UTC)"
