"""Nights as they happen: a server, a worker, a browser, and what goes wrong between them."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from configs.options import options
from configs.request import RunRequest
from rigs.installation import Installation, Until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

pytestmark = pytest.mark.slow

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date()
DAYS = [date(2026, 3, day) for day in range(1, 6)]


@pytest.fixture
def site(installation: Installation, prefect_client: SyncPrefectClient) -> Installation:
    """The installation, deployed, with a worker at work."""
    if installation.worker is None:
        for job, faults in {
            "nightly-letters": "",
            "by-form": "",
            "killed": "status:scheduling:4",
            "cancelled": "stuck:in_progress",
            "backfilled": "",
            "refused": "row_error:400",
        }.items():
            schedule = {"cron": "* * * * *"} if job == "nightly-letters" else None
            installation.job(job, faults, schedule=schedule)
        installation.rows(YESTERDAY.isoformat())
        installation.deploy()
        installation.start_worker()
    return installation


def started(client: SyncPrefectClient, deployment: str, **parameters: Any) -> UUID:
    """Id of a new run of a deployment."""
    found = client.read_deployment_by_name(deployment)
    return client.create_flow_run_from_deployment(found.id, parameters=parameters).id


def state(client: SyncPrefectClient, run_id: UUID) -> str:
    """Name of a flow run's state."""
    return str(client.read_flow_run(run_id).state.name)


def ended(client: SyncPrefectClient, run_id: UUID) -> FlowRun | None:
    """A flow run at its end, or nothing yet."""
    run = client.read_flow_run(run_id)
    return run if run.state.is_final() else None


def test_a_second_deploy_changes_nothing(site: Installation) -> None:
    lines = [line for line in site.deploy() if line]
    assert lines
    assert all(line.startswith("unchanged") for line in lines), lines
    assert "sk-webhook" not in "".join(lines)


def test_the_commands_of_the_page_about_deploying_work(site: Installation) -> None:
    page = (site.checkout / "deployments/README.md").read_text(encoding="utf-8")
    printed = site.type("".join(re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)))
    assert "deployment enrich/nightly-letters" in printed
    assert "quickstart by-hand" in printed
    assert "200 rows" in printed
    (published,) = (site.checkout / "out/_trial/quickstart/by-hand").glob("*.parquet")
    assert pq.read_metadata(published).num_rows == 200


def test_the_nightly_run_starts_by_itself_and_buys_a_night_once(
    site: Installation, prefect_client: SyncPrefectClient, until: Until
) -> None:
    nightly = prefect_client.read_deployment_by_name("enrich/nightly-letters")

    def runs() -> list[FlowRun]:
        return [
            run
            for run in prefect_client.read_flow_runs()
            if run.deployment_id == nightly.id and run.state.is_completed()
        ]

    until(runs, "a scheduled run")
    for schedule in nightly.schedules:
        prefect_client.update_deployment_schedule(nightly.id, schedule.id, active=False)
    day = YESTERDAY.isoformat()
    assert {run.name for run in runs()} <= {
        f"nightly-letters {day}",
        f"nightly-letters {YESTERDAY + timedelta(1)}",
    }
    run = site.run_of("nightly-letters", day)
    assert site.paid(run) == {"1/1": 1}
    assert site.out("nightly-letters", day)["llm_status"].to_pylist() == ["succeeded"] * 6


def test_server_and_worker_killed_while_a_run_sleeps_are_started_again_and_it_goes_on(
    site: Installation, prefect_client: SyncPrefectClient, until: Until
) -> None:
    run_id = started(prefect_client, "enrich/ad-hoc", job="configs/jobs/killed.yaml")
    until(lambda: state(prefect_client, run_id) == "Sleeping", "sleep")
    site.kill_worker()
    site.kill_server()
    site.server.start()
    until(lambda: prefect_client.api_healthcheck() is None, "the server")
    site.start_worker()
    run = until(lambda: ended(prefect_client, run_id), "the end")
    assert run.state.name == "Completed", run.state.message
    assert site.paid(site.run_of("killed", YESTERDAY.isoformat())) == {"1/1": 1}
    assert site.out("killed", YESTERDAY.isoformat())["id"].to_pylist() == [f"t-{n}" for n in range(6)]


def test_a_run_cancelled_in_its_sleep_has_its_batches_cancelled(
    site: Installation, prefect_client: SyncPrefectClient, until: Until
) -> None:
    from prefect.states import Cancelling

    run_id = started(prefect_client, "enrich/ad-hoc", job="configs/jobs/cancelled.yaml")
    until(lambda: state(prefect_client, run_id) == "Sleeping", "sleep")
    (batch,) = site.ledger.batches(site.run_of("cancelled", YESTERDAY.isoformat()).id)
    prefect_client.set_flow_run_state(run_id, Cancelling())  # what the button in the UI does
    until(lambda: state(prefect_client, run_id) == "Cancelled", "Cancelled")
    client = site.service.client()
    until(lambda: client.batches.retrieve(batch.batch_id).status == "cancelled", "the batch's end")
    until(lambda: site.run_of("cancelled", YESTERDAY.isoformat()).state == "cancelled", "the ledger")


def test_a_run_over_its_error_budget_is_told(
    site: Installation, prefect_client: SyncPrefectClient, until: Until
) -> None:
    started(prefect_client, "enrich/ad-hoc", job="configs/jobs/refused.yaml")
    until(lambda: [said for said in site.alerts.told if f"refused {YESTERDAY}" in said], "the alert")
    told = json.loads(next(said for said in site.alerts.told if f"refused {YESTERDAY}" in said))
    assert "over its error budget" in told["text"]


@pytest.mark.soak
def test_a_backfill_buys_every_date_once_and_goes_past_the_one_that_fails(
    site: Installation, prefect_client: SyncPrefectClient, until: Until
) -> None:
    for day in DAYS[:2] + DAYS[3:]:
        site.rows(day.isoformat())
    asked = {
        "job": "configs/jobs/backfilled.yaml",
        "start": str(DAYS[0]),
        "end": str(DAYS[-1]),
        "max_parallel": 2,
    }
    first = started(prefect_client, "backfill/backfill", **asked)
    run = until(lambda: ended(prefect_client, first), "the backfill")
    assert run.state.is_failed()
    assert DAYS[2].isoformat() in run.state.message
    site.rows(DAYS[2].isoformat())
    second = started(prefect_client, "backfill/backfill", **asked)
    run = until(lambda: ended(prefect_client, second), "the second backfill")
    assert run.state.is_completed(), run.state.message
    for day in DAYS:
        assert site.paid(site.run_of("backfilled", day.isoformat())) == {"1/1": 1}, day
        assert site.out("backfilled", day.isoformat()).num_rows == 6


def test_a_run_is_started_from_the_form_in_the_browser(
    site: Installation, prefect_client: SyncPrefectClient, until: Until, browser: Browser
) -> None:
    found = prefect_client.read_deployment_by_name("enrich/ad-hoc")
    base = site.server.url.removesuffix("/api")
    page = browser.new_context(viewport={"width": 1280, "height": 2000}).new_page()
    page.set_default_timeout(60_000)
    page.route("**/*", lambda route: stay_home(route, base))
    page.goto(f"{base}/deployments/deployment/{found.id}/run")
    field = page.locator(".schema-form-property")
    told = {name: field.filter(has_text=option.help) for name, option in options(RunRequest).items()}
    told["job"].locator(".p-select-button__control").last.press("ArrowDown")
    page.locator(".p-select-option").filter(has_text="by-form").click()
    told["limit"].locator("input").first.fill("3")
    # The browser's requests pass through this thread: it has to wait for the answer here.
    with page.expect_response("**/create_flow_run") as answer:
        page.get_by_role("button", name="Submit").click()
    run_id = answer.value.json()["id"]
    run = until(lambda: ended(prefect_client, run_id), "the run")
    assert run.parameters["limit"] == 3
    assert (run.state.name, run.name) == ("Completed", f"by-form {YESTERDAY}.trial"), run.state.message
    trial = site.out(f"by-form/_trial/{YESTERDAY}", YESTERDAY.isoformat())
    assert trial["id"].to_pylist() == ["t-0", "t-1", "t-2"]
    page.goto(f"{base}/runs/flow-run/{run.id}")
    page.get_by_text(f"by-form {YESTERDAY}").first.wait_for()


def stay_home(route: Route, base: str) -> None:
    """Let the browser reach nothing but the server."""
    if route.request.url.startswith((base, "data:", "blob:")):
        route.continue_()
    else:
        route.abort()
