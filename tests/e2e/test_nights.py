"""Nights as an installation lives them, by the clock: servers, worker, runs and provider all see the time that the test sets."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs.moved_clock import MovedClock
from rigs.nights import INPUT_USD, NEW_ROWS, OUTPUT_USD, ROWS, Nights
from rigs.prefect_server import PrefectServer, StartPrefectServer
from tasks.stages.report.page.formatting import dollars

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = pytest.mark.soak  # minutes, with two cores to itself: by hand


@pytest.fixture
def prefect_server(prefect_server_with: StartPrefectServer, moved_clock: MovedClock) -> PrefectServer:
    """A server that goes by the moved clock, and looks often."""
    return prefect_server_with(
        PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="2",
        PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS="1",
        PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS="1",
        PREFECT_WORKER_PREFETCH_SECONDS="1",
        **moved_clock.environ,
    )


@pytest.fixture
def site(
    tmp_path: Path, prefect_server: PrefectServer, prefect_client: SyncPrefectClient, moved_clock: MovedClock
) -> Iterator[Nights]:
    made = Nights(tmp_path, prefect_server, prefect_client, moved_clock)
    yield made
    made.close()


def test_nights_by_the_clock_while_jobs_come_and_go_by_their_files_alone(site: Nights) -> None:
    installation = site.installation
    jobs = {"reviews", "letters", "tickets"}
    for job in jobs:
        site.write_job(job)
    assert {f"created deployment enrich/{job}" for job in jobs} <= set(installation.deploy())
    site.start_worker()
    nights: dict[date, set[str]] = {}

    # Monday: nothing but the schedule.
    nights[monday := site.begin_night()] = set(jobs)
    site.until_over(monday, jobs)

    # Tuesday: one job has come and one is gone, by their files alone.
    site.write_job("poems")
    (site.jobs / "tickets.yaml").unlink()
    jobs = {*jobs, "poems"} - {"tickets"}
    lines = installation.deploy()
    assert {"created deployment enrich/poems", "deleted deployment enrich/tickets"} <= set(lines)
    nights[tuesday := site.begin_night()] = set(jobs)
    site.until_over(tuesday, jobs)

    # Every row once, and what the night before asked is not bought again.
    for rows_of, night_jobs in nights.items():
        for job in night_jobs:
            out = site.out(job, rows_of)
            assert out["id"].to_pylist() == [f"t-{n}" for n in range(ROWS)], (job, rows_of)
            is_first = rows_of == (tuesday if job == "poems" else monday)
            old = "succeeded" if is_first else "reused"
            statuses = [old] * (ROWS - NEW_ROWS) + ["succeeded"] * NEW_ROWS
            assert out["llm_status"].to_pylist() == statuses, (job, rows_of)

    # Every batch paid once.
    runs = sum(len(night_jobs) for night_jobs in nights.values())
    assert set(site.paid().values()) == {1}
    assert len(site.paid()) == runs

    # One bill: the service's, the ledger's, and the page's.
    usages = [batch.usage for batch in site.batches()]
    usd = sum(u.input_tokens * INPUT_USD + u.output_tokens * OUTPUT_USD for u in usages if u) / 1e6
    figures = json.loads(installation.type("nightmail stats --by job --json"))["total"]
    assert (figures["batches"], figures["cost_usd"]) == (runs, pytest.approx(usd, rel=1e-9))
    assert figures["answers"] == sum(batch.request_counts.completed for batch in site.batches())
    with site.server("console") as url, urllib.request.urlopen(f"{url}statistics") as page:
        assert dollars(usd) in page.read().decode()
