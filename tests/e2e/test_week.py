"""A week as an installation lives it, by the clock: server, worker, runs and provider all see the time that the test sets."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs.moved_clock import MovedClock
from rigs.nights import INPUT_USD, NEW_ROWS, OUTPUT_USD, ROWS, Nights
from rigs.prefect_server import LOOKS_OFTEN, PrefectServer, StartPrefectServer
from tasks.stages.report.page.formatting import dollars

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = pytest.mark.soak  # minutes, with two cores to itself: by hand


@pytest.fixture
def prefect_server(prefect_server_with: StartPrefectServer, moved_clock: MovedClock) -> PrefectServer:
    """A server that goes by the moved clock, and looks often."""
    return prefect_server_with(**LOOKS_OFTEN, **moved_clock.environ)


@pytest.fixture
def site(
    tmp_path: Path, prefect_server: PrefectServer, prefect_client: SyncPrefectClient, moved_clock: MovedClock
) -> Iterator[Nights]:
    made = Nights(tmp_path, prefect_server, prefect_client, moved_clock)
    yield made
    made.close()


def test_a_week_of_nights_while_jobs_versions_ledgers_and_the_provider_come_and_go(site: Nights) -> None:
    installation = site.installation
    jobs = {"reviews", "letters", "tickets"}
    for job in jobs:
        site.write_job(job)
    assert {f"created deployment enrich/{job}" for job in jobs} <= set(installation.deploy())
    site.start_worker()
    nights: dict[date, set[str]] = {}

    def evening() -> date:
        nights[rows_of := site.begin_night()] = set(jobs)
        return rows_of

    # Monday: nothing but the schedule.
    site.until_over(evening(), jobs)

    # Tuesday: a job has come, by its file alone.
    site.write_job("poems")
    jobs.add("poems")
    assert "created deployment enrich/poems" in installation.deploy()
    site.until_over(evening(), jobs)

    # Wednesday: a job is gone, by its file alone.
    (site.jobs / "tickets.yaml").unlink()
    jobs.remove("tickets")
    assert "deleted deployment enrich/tickets" in installation.deploy()
    site.until_over(evening(), jobs)

    # Thursday: while the runs sleep, the worker goes, and one of another checkout takes its place.
    site.until_asleep(thursday := evening(), jobs)
    installation.stop_worker()
    site.upgrade()
    site.start_worker()
    site.until_over(thursday, jobs)

    # Friday: worker and ledger are lost while the runs sleep; the backup is older than what they have posted.
    installation.type("nightmail backup ../backup")
    site.until_asleep(friday := evening(), jobs)
    posted = site.paid()
    installation.kill_worker()
    for file in (installation.folder / "home").glob("ledger.db*"):
        file.unlink()
    installation.type("nightmail restore ../backup")
    site.start_worker()
    site.until_over(friday, jobs)
    assert site.paid() == posted

    # Saturday: the provider cannot be reached from the posting until the morning.
    site.until_asleep(saturday := evening(), jobs)
    site.service.kill()
    site.until_looked_again(saturday, jobs)
    site.clock.move_to(site.clock.now() + timedelta(hours=6))
    site.service.start()
    site.until_over(saturday, jobs)

    # Sunday: the provider says when it is done, and nobody waits for the next look.
    with site.serving("webhooks") as url:
        site.until_asleep(sunday := evening(), jobs)
        for batch in site.batches_of(sunday):
            site.service.wait(batch.id)
            assert site.deliver(url, batch.id) == HTTPStatus.NO_CONTENT
        site.until_over_by_itself(sunday, jobs)
    assert len(nights) == 7

    # Every row once, and what the night before asked is not bought again.
    met: set[str] = set()
    for rows_of, night_jobs in nights.items():
        for job in night_jobs:
            out = site.out(job, rows_of)
            assert out["id"].to_pylist() == [f"t-{n}" for n in range(ROWS)], (job, rows_of)
            old = "reused" if job in met else "succeeded"
            statuses = [old] * (ROWS - NEW_ROWS) + ["succeeded"] * NEW_ROWS
            assert out["llm_status"].to_pylist() == statuses, (job, rows_of)
        met |= night_jobs

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
    with site.serving("console") as url, urllib.request.urlopen(f"{url}statistics") as page:
        assert dollars(usd) in page.read().decode()
