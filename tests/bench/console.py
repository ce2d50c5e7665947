"""Milliseconds that the console takes for each of its pages, over a ledger of 400 runs and 2,000 batches.

python tests/bench console [--runs 400]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

from configs.clock import SystemClock
from configs.home import Home
from configs.load import load_job
from rigs.checkout import ROOT
from rigs.console import client_of, console_over, fill
from tasks.ledger.store import Ledger

PAGES = (
    "/runs",
    "/runs?search=key-02",
    "/runs/run00399",
    "/batches",
    "/batches?search=batch_00200",
    "/batches?status=failed&page=3",
    "/statistics?from=2026-11-01&to=2026-12-31",
    "/jobs",
    "/budgets",
    "/metrics",
)
_TIMES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        home = Home.from_environment({"NIGHTMAIL_HOME": folder})
        job = ROOT / "configs/jobs/quickstart.yaml"
        Ledger(home.ledger_url, SystemClock())
        fill(home.ledger_url, load_job(job).model_dump(mode="json", by_alias=True), count=runs)
        client = client_of(console_over(home, job))
        print(f"{runs:,} runs, {5 * runs:,} batches: milliseconds, median and worst of {_TIMES}")
        for page in PAGES:
            client.get(page)  # what is imported at the first call
            taken = [_milliseconds(client, page) for _ in range(_TIMES)]
            print(f"  {statistics.median(taken):6.0f} {max(taken):6.0f}  {page}")


def _milliseconds(client: object, page: str) -> float:
    start = time.perf_counter()
    answer = client.get(page)  # type: ignore[attr-defined]
    assert answer.status_code == 200, answer.text
    return 1000 * (time.perf_counter() - start)
