"""What happens by itself on a real server: deployments and automations as `nightmail deploy` makes them, a real worker.

Runs are killed while they work; the batch service says what was paid.
"""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from rigs.site import Site, engine_of, is_working
from rigs.webhook import webhook

pytestmark = pytest.mark.slow


def test_a_run_whose_process_is_killed_goes_on_and_pays_nothing_twice(site: Site) -> None:
    site.deploy()
    site.workspace.change("poll", {"first_seconds": 2, "max_seconds": 2})
    site.workspace.faults("status:scheduling:1")
    site.start_worker()
    run = site.start_run()
    os.kill(site.caught_at_work(run), signal.SIGKILL)

    site.until(run, lambda found: found.state.is_completed())

    names = site.history(run)
    assert names.index("Crashed") < names.index("AwaitingRetry") < names.index("Completed")
    assert site.workspace.statuses() == {"succeeded": 10}
    assert site.workspace.paid() == {"1/1": 1}


def test_silence_starts_a_sweep_and_changes_no_state_by_itself(site: Site) -> None:
    site.deploy(silence=20)
    site.workspace.service.fault("create", "delay:100")  # it is at work until it is killed
    worker = site.start_worker()
    run = site.start_run()
    engine = engine_of(site.until(run, is_working))
    site.until(run, lambda _: heart_has_beaten(site, run))
    before = {sweep.id for sweep in site.sweeps()}
    worker.kill()
    os.kill(engine, signal.SIGKILL)
    site.workspace.service.forgive()
    site.start_worker()

    site.until(run, lambda _: any(s.id not in before and s.state.is_completed() for s in site.sweeps()))
    assert "Crashed" not in site.history(run)
    site.sweep_later(minutes=4)  # its heart has stopped for longer than that of one that may be alive
    site.until(run, lambda found: found.state.is_completed())

    names = site.history(run)
    assert names.index("Running") < names.index("AwaitingRetry") < names.index("Completed")
    assert "Crashed" not in names
    assert site.workspace.statuses() == {"succeeded": 10}
    assert sum(site.workspace.paid().values()) == 1


def test_a_run_that_sleeps_is_not_taken_for_dead_by_a_server_that_was_restarted(site: Site) -> None:
    """Such a server puts the events of its states aside and does not its heartbeats: silence, as far as events go."""
    site.deploy(silence=20)
    site.workspace.change("poll", {"first_seconds": 45, "max_seconds": 45})
    site.workspace.faults("status:in_progress:2")
    worker = site.start_worker()
    run = site.start_run()
    site.until(run, lambda found: found.state.name == "Sleeping")
    site.server.stop()
    worker.kill()
    site.server.start()
    site.wait_for_server()
    site.start_worker()
    before = {sweep.id for sweep in site.sweeps()}

    site.until(run, lambda found: found.state.is_completed())

    assert [sweep for sweep in site.sweeps() if sweep.id not in before], (
        "nobody was misled: this proves nothing"
    )
    names = site.history(run)
    assert names.count("Sleeping") >= 2
    assert not {"Crashed", "AwaitingRetry"} & set(names), names
    assert site.workspace.statuses() == {"succeeded": 10}
    assert site.workspace.paid() == {"1/1": 1}


@pytest.mark.soak
def test_a_run_that_begins_soon_after_it_was_scheduled_is_not_taken_for_dead(site: Site) -> None:
    """Its first event follows one of less than five minutes ago, which the events' consumer never gets."""
    site.workspace.change("poll", {"first_seconds": 45, "max_seconds": 45})
    site.workspace.faults("status:in_progress:2")
    parameters = {"job": site.workspace.write(), "key": "k"}
    for minutes in (3, 6, 12):  # the deploying itself may take some of them
        due = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(second=0, microsecond=0)
        schedule = {"slug": "soon", "cron": f"{due:%M %H} * * *", "timezone": "UTC", "active": True}
        site.deploy(silence=20, nightly={"parameters": parameters, "schedules": [schedule]})
        if datetime.now(UTC) < due:
            break
    site.start_worker()
    run = site.scheduled_for(site.client.read_deployment_by_name("enrich/nightly").id, due)
    site.until(run, lambda found: found.state.is_completed(), seconds=1500)
    assert not {"Crashed", "AwaitingRetry"} & set(site.history(run))
    assert site.workspace.paid() == {"1/1": 1}


def test_a_sweep_whose_worker_was_killed_keeps_no_other_from_sweeping(site: Site) -> None:
    from prefect.states import Pending

    site.deploy()
    deployment = site.client.read_deployment_by_name("sweep/sweep")
    jam = site.client.create_flow_run_from_deployment(deployment.id, state=Pending()).id
    site.start_worker()
    for _ in range(2):
        next_one = site.client.create_flow_run_from_deployment(deployment.id).id
        assert site.until(next_one, lambda found: found.state.is_final()).state.name == "Completed"
    # By then the scheduled one after these is missed as well.
    assert [line for line in site.sweep_later(minutes=15).done if "its flow run is Pending" in line]
    assert site.client.read_flow_run(jam).state.name == "Cancelled"


def test_it_is_told_when_no_sweep_was_completed(site: Site) -> None:
    with webhook() as (url, told):
        site.deploy(webhook=url, missing=10)
        text = told.get(timeout=300)
    assert text.startswith("Nightmail: no sweep was completed for 30 minutes. ")


def heart_has_beaten(site: Site, run: UUID) -> bool:
    beats = {
        "filter": {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
        }
    }
    return bool(site.client.request("POST", "/events/filter", json=beats).json()["events"])
