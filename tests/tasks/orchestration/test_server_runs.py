"""Processes that are told to go, die, or do not know that they are dead: on a real server with a real worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from configs.clock import SystemClock
from flows.enrich import enrich
from rigs.deployed import Deployed

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

pytestmark = pytest.mark.slow


class Later:
    """The clock of a sweep that comes when a quarter of an hour has passed."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=15)

    def sleep(self, seconds: float) -> None: ...


def until(seen: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.05)
    return found


def test_a_process_that_gets_sigterm_lets_go_of_its_run_and_a_sweep_wakes_it(deployed: Deployed) -> None:
    from tasks.maintenance.sweep import sweep_up
    from tasks.orchestration.server_runs import OnServer

    workspace = deployed.workspace
    looks = workspace.service.stats()["requests"].get("retrieve", 0)
    workspace.service.fault("retrieve", "delay:100")
    run = deployed.start(
        deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False), job=workspace.write(), key="k"
    )
    # Only a process that is asking for its batch is sure to be there: any other may be falling asleep.
    until(lambda: workspace.service.stats()["requests"].get("retrieve", 0) > looks, "a look at the batch")
    held = workspace.ledger.latest_run("letters", "k")
    os.kill(int(held.lease_owner.split("/")[-2]), signal.SIGTERM)
    until(lambda: workspace.ledger.get_run(held.id).lease_owner is None, "the end of the lease")
    over = deployed.until_over(run)
    assert over.state.name == "Crashed", over.state.message
    # The worker reports it a second time, which would crash the run that was waked in between.
    until(lambda: is_done_with(deployed.client, run), "the worker's second report")
    workspace.service.forgive()

    swept = sweep_up(workspace.home, os.environ, Later(), OnServer(deployed.client))
    assert len(swept.done) == 1, swept.done
    assert "letters k: its flow run is Crashed since" in swept.done[0]
    again = deployed.until_over(run)
    assert again.state.name == "Completed", again.state.message
    assert workspace.paid() == {"1/1": 1}
    assert sweep_up(workspace.home, os.environ, Later(), OnServer(deployed.client)).done == []


def test_a_run_whose_worker_died_before_it_began_is_waked_by_a_sweep(deployed: Deployed) -> None:
    from prefect.states import Pending

    from tasks.maintenance.sweep import sweep_up
    from tasks.orchestration.server_runs import OnServer

    workspace = deployed.workspace
    deployment = deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False, tags=["nightmail"])
    run = deployed.start(deployment, state=Pending(), job=workspace.write(), key="k")
    others = deployed.start(
        deployed.deploy(enrich, "of-others", enforce_parameter_schema=False),
        state=Pending(),
        job=workspace.write(),
    )
    assert sweep_up(workspace.home, os.environ, SystemClock(), OnServer(deployed.client)).done == []

    (said,) = sweep_up(workspace.home, os.environ, Later(), OnServer(deployed.client)).done
    assert ": its flow run is Pending since " in said
    assert said.endswith("but no process works on it; a worker takes it up again")
    over = deployed.until_over(run)
    assert over.state.name == "Completed", over.state.message
    assert deployed.client.read_flow_run(others).state.name == "Pending"
    assert workspace.paid() == {"1/1": 1}


def test_a_sweep_sees_a_sign_of_life_and_ends_what_nothing_comes_of(deployed: Deployed) -> None:
    from prefect.states import Pending, Scheduled

    from flows.sweep import sweep
    from tasks.maintenance.sweep import sweep_up
    from tasks.orchestration.server_runs import OnServer

    server = OnServer(deployed.client)
    ours = {"tags": ["nightmail"], "enforce_parameter_schema": False}
    sweeps = deployed.deploy(sweep, "sweep", paused=True, **ours)
    jam = deployed.start(sweeps, state=Pending())  # its worker was killed
    missed = deployed.start(sweeps, state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(seconds=30)))
    job = deployed.workspace.write()
    enriching = deployed.deploy(enrich, "later", **ours)
    tomorrow = Scheduled(name="Sleeping", scheduled_time=datetime.now(UTC) + timedelta(hours=20))
    asleep = deployed.start(enriching, state=tomorrow, job=job, key="asleep")
    alive = deployed.start(enriching, state=Pending(), job=job, key="alive")
    deployed.client.set_flow_run_state(alive, running(), force=True)
    since = datetime.now(UTC)
    beat(deployed.client, alive)
    until(lambda: (found := server.see(str(alive))) and found.heard and found.heard >= since, "a heartbeat")

    class Soon(Later):
        """Counted from the heartbeat: a busy server shows it a minute after it was sent."""

        def now(self) -> datetime:
            return since + timedelta(seconds=150)

    assert sweep_up(deployed.workspace.home, os.environ, Soon(), server).done == []
    done = sweep_up(deployed.workspace.home, os.environ, Later(), server).done
    states = {run: deployed.client.read_flow_run(run).state.name for run in (jam, missed, asleep)}
    assert states == {jam: "Cancelled", missed: "Cancelled", asleep: "Sleeping"}, done
    # The worker may have taken it up by now.
    assert "AwaitingRetry" in {state.name for state in deployed.client.read_flow_run_states(alive)}, done
    (told,) = until(lambda: events_of(deployed.client, "nightmail.sweep")[:1], "the event")
    assert told["event"] == "nightmail.sweep.completed"
    assert told["follows"] is None
    assert deployed.until_over(alive).state.name == "Completed", deployed.log[-3000:]


def running() -> State[Any]:
    from prefect.states import Running

    return Running()


def beat(client: SyncPrefectClient, flow_run: UUID) -> None:
    """What an engine says once a minute."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run}"}
    heartbeat = {"event": "prefect.flow-run.heartbeat", "resource": resource, "id": str(uuid4())}
    client.request("POST", "/events", json=[{**heartbeat, "occurred": datetime.now(UTC).isoformat()}])


def test_crashes_are_counted_as_they_were_and_told_once(deployed: Deployed) -> None:
    from prefect.states import Crashed, Pending, Scheduled

    from tasks.maintenance.sweep import sweep_up
    from tasks.orchestration.server_runs import OnServer

    deployment = deployed.deploy(enrich, "oom", enforce_parameter_schema=False, tags=["nightmail"])
    run = deployed.start(deployment, state=Pending(), job=deployed.workspace.write(), key="oom")
    for _ in range(3):
        for state in (running(), Crashed(), Crashed()):  # a worker reports a killed process twice
            deployed.client.set_flow_run_state(run, state, force=True)

    class AMinuteLater(Later):
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=61)

    for _ in range(2):
        swept = sweep_up(deployed.workspace.home, os.environ, AMinuteLater(), OnServer(deployed.client))
        assert swept.done == []
        assert swept.noted[0].endswith("crashed 3 times; memory, mostly: see its log")
    told = until(lambda: events_of(deployed.client, f"nightmail.flow-run.{run}"), "the event")
    assert [event["event"] for event in told] == ["nightmail.run.keeps-crashing"], "the same event both times"
    assert "crashed 3 times" in told[0]["payload"]["message"]
    assert deployed.client.read_flow_run(run).state.name == "Crashed"
    deployed.client.set_flow_run_state(run, Scheduled(), force=True)
    assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]


def test_a_run_that_another_process_holds_waits_for_its_own_and_names_a_strangers(deployed: Deployed) -> None:
    from prefect.states import Scheduled

    workspace = deployed.workspace
    workspace.faults("status:scheduling:1")
    # Long enough that the lease can be taken from it while it sleeps.
    workspace.change("poll", {"first_seconds": 20, "max_seconds": 20})
    deployment = deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False)
    mine = deployed.start(deployment, job=workspace.write(), key="k")
    deployed.until_state(mine, "Sleeping")
    record = workspace.ledger.latest_run("letters", "k")
    until(lambda: workspace.ledger.get_run(record.id).lease_owner is None, "the end of the lease")
    zombie = workspace.ledger.claim(record.id, "far-away/x/1/1", 600, lambda _: False)

    stranger = deployed.until_over(deployed.start(deployment, job=workspace.write(), key="k"))
    assert stranger.state.name == "Failed"
    assert f"flow run letters k ({mine}, " in stranger.state.message, stranger.state.message
    assert "is working on this run" in stranger.state.message

    waiting = deployed.until(mine, lambda run: "an earlier process" in (run.state.message or ""))
    assert waiting.state.name == "Sleeping"
    wake = waiting.state.state_details.scheduled_time
    assert wake > workspace.ledger.get_run(record.id).lease_until
    zombie.release()
    deployed.client.set_flow_run_state(mine, Scheduled(), force=True)
    assert deployed.until_over(mine).state.name == "Completed", deployed.log[-3000:]
    assert workspace.paid() == {"1/1": 1}


def test_a_run_over_its_error_budget_tells_and_one_within_it_tells_that_it_finished(
    deployed: Deployed,
) -> None:
    workspace = deployed.workspace
    workspace.faults("row_error:400:t-1|t-2")
    deployment = deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False)
    over = deployed.start(deployment, job=workspace.write(), key="over")
    deployed.until_over(over)
    within = deployed.start(
        deployment, job=workspace.write(), key="within", overrides=["run.error_budget=0.5"]
    )
    assert deployed.until_over(within).state.name == "Completed", deployed.log[-3000:]
    record = {key: workspace.ledger.latest_run("letters", key) for key in ("over", "within")}

    told = until(lambda: events(deployed.client, record["over"].id), "the event")
    assert [event["event"] for event in told] == ["nightmail.run.over-error-budget"]
    payload = told[0]["payload"]
    assert (payload["run"], payload["job"], payload["key"]) == (record["over"].id, "letters", "over")
    assert payload["seconds"] >= 0
    assert payload["counts"] == "2 of 10 rows without an answer"
    related = {one["prefect.resource.id"] for one in told[0]["related"]}
    assert f"prefect.flow-run.{over}" in related
    told = until(lambda: events(deployed.client, record["within"].id), "the event")
    assert [event["event"] for event in told] == ["nightmail.run.finished"]
    assert "Over the error budget:" in deployed.artifacts(over)["receipt-letters"].data
    deployed.until(over, lambda _: "20.0% of the rows have no answer" in deployed.log)


def is_done_with(client: SyncPrefectClient, flow_run: UUID) -> bool:
    """Whether the worker has told all it has to tell of a process."""
    wanted = {
        "event": {"name": ["prefect.worker.executed-flow-run"]},
        "related": {"id": [f"prefect.flow-run.{flow_run}"]},
    }
    return bool(client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"])


def events(client: SyncPrefectClient, run_id: str) -> list[dict[str, Any]]:
    return events_of(client, f"nightmail.run.{run_id}")


def events_of(client: SyncPrefectClient, resource: str) -> list[dict[str, Any]]:
    wanted = {"filter": {"resource": {"id": [resource]}}}
    found: list[dict[str, Any]] = client.request("POST", "/events/filter", json=wanted).json()["events"]
    return found
