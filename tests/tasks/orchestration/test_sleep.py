"""What tasks/orchestration/sleep.py relies on in Prefect and Prefect does not promise. An upgrade that breaks it fails here by name."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from rigs.checkout import ROOT
from rigs.prefect_server import PrefectServer
from tasks.orchestration.durable_sleep import set_without_process
from tasks.orchestration.resumed import ended_by_resume
from tasks.orchestration.sleep import PAUSED_FOR_BILLING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Nap:
    """One flow run with two naps, as it went."""

    states: list[Any]
    awake: list[tuple[str, datetime]]
    pid_while_asleep: str | None
    run: Any
    log: str


def napping(
    client: SyncPrefectClient,
    folder: Path,
    nap_seconds: int,
    *,
    paused: str | None = None,
    told: bool = False,
) -> UUID:
    """Id of a new run of the napper."""
    from prefect.flows import load_flow_from_entrypoint

    entrypoint = "tests/tasks/orchestration/napper.py:napper"
    flow: Any = load_flow_from_entrypoint(str(ROOT / entrypoint))
    deployment = client.create_deployment(
        flow_id=client.create_flow(flow),
        name="contract",
        work_pool_name="nightmail",
        path=str(ROOT),
        entrypoint=entrypoint,
    )
    made = client.create_flow_run_from_deployment(
        deployment,
        parameters={
            "diary": str(folder / "diary"),
            "nap_seconds": nap_seconds,
            "paused": paused,
            "told": told,
        },
    )
    return made.id


def until(client: SyncPrefectClient, run: UUID, name: str, log: Path) -> FlowRun:
    deadline = time.monotonic() + 300
    while (found := client.read_flow_run(run)).state.name != name:
        assert time.monotonic() < deadline, f"never {name}: {found.state!r}; {log.read_text()[-3000:]}"
        time.sleep(0.05)
    return found


def pid_in_its_sleep(client: SyncPrefectClient, run: UUID) -> str | None:
    """What a flow run that fell asleep says of its process: it clears the id right after it has set the state."""
    deadline = time.monotonic() + 60
    pid = None
    while (found := client.read_flow_run(run)).state.name == "Sleeping" and time.monotonic() < deadline:
        if not (pid := found.infrastructure_pid):
            break
        time.sleep(0.05)
    return pid


@pytest.fixture(scope="module")
def nap(prefect_server: PrefectServer, prefect_worker: Path, tmp_path_factory: pytest.TempPathFactory) -> Nap:
    """Two naps on a real server with a real worker."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = tmp_path_factory.mktemp("napper")
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:
        run = napping(client, folder, 10)
        until(client, run, "Sleeping", prefect_worker)
        pid = pid_in_its_sleep(client, run)
        over = until(client, run, "Completed", prefect_worker)
        states = client.read_flow_run_states(run)
    diary = [line.split() for line in (folder / "diary").read_text().splitlines()]
    awake = [(pid, datetime.fromisoformat(at)) for pid, at in diary]
    return Nap(
        sorted(states, key=lambda state: state.timestamp), awake, pid, over, prefect_worker.read_text()
    )


def test_a_flow_run_may_schedule_itself_while_it_runs(nap: Nap) -> None:
    naps = [state for state in nap.states if state.name == "Sleeping"]
    assert [state.type.value for state in naps] == ["SCHEDULED", "SCHEDULED"]
    assert {state.message for state in naps} == {"napping"}


def test_pause_ends_the_process_cleanly_and_leaves_the_state_as_it_was_set(nap: Nap) -> None:
    names = [state.name for state in nap.states]
    for before, after in itertools.pairwise(names):
        assert before != "Sleeping" or after in ("Pending", "AwaitingConcurrencySlot"), names
    assert not {"Crashed", "Failed", "Paused", "Suspended"} & set(names), names
    assert "exited with status code" not in nap.log, nap.log[-3000:]


def test_a_cleared_process_id_stays_cleared_during_the_nap(nap: Nap) -> None:
    assert not nap.pid_while_asleep


def test_a_worker_takes_the_same_flow_run_up_again_in_a_new_process_and_not_too_early(nap: Nap) -> None:
    assert len({pid for pid, _ in nap.awake}) == 3
    wakes = [state.state_details.scheduled_time for state in nap.states if state.name == "Sleeping"]
    for (_, at), wake in zip(nap.awake[1:], wakes, strict=True):
        assert (at - wake).total_seconds() > -0.5, "it was woken before its time"


def test_naps_change_neither_the_first_due_time_nor_the_first_start(nap: Nap) -> None:
    assert nap.run.expected_start_time < nap.awake[0][1]
    assert nap.run.start_time < nap.awake[0][1], (
        "start_time must be the first start: start_within counts from it"
    )
    assert nap.run.run_count == 3


def test_a_run_that_is_cancelled_in_its_sleep_is_cancelled_at_once(
    prefect_client: SyncPrefectClient, prefect_worker: Path, tmp_path: Path
) -> None:
    from prefect.states import Cancelling

    run = napping(prefect_client, tmp_path, 3600)
    until(prefect_client, run, "Sleeping", prefect_worker)
    assert not pid_in_its_sleep(prefect_client, run)
    prefect_client.set_flow_run_state(run, Cancelling())  # as the button in the UI does
    until(prefect_client, run, "Cancelled", prefect_worker)
    assert len((tmp_path / "diary").read_text().splitlines()) == 1


def test_a_run_that_is_told_to_go_on_while_it_falls_asleep_does_so_at_once(
    prefect_client: SyncPrefectClient, prefect_worker: Path, tmp_path: Path
) -> None:
    run = napping(prefect_client, tmp_path, 3600, told=True)
    until(prefect_client, run, "Completed", prefect_worker)
    names = [state.name for state in states_of(prefect_client, run)]
    assert names.count("Sleeping") == 2 * 2, names  # each for an hour, then for now
    assert not {"Crashed", "Failed", "Paused", "Suspended"} & set(names), names
    assert len({line.split()[0] for line in (tmp_path / "diary").read_text().splitlines()}) == 3


def test_a_run_that_waits_for_a_person_goes_on_by_resume_and_by_a_sweep_and_the_states_tell_which(
    prefect_client: SyncPrefectClient, prefect_worker: Path, tmp_path: Path
) -> None:
    from prefect.states import AwaitingRetry

    run = napping(prefect_client, tmp_path, 3600, paused=PAUSED_FOR_BILLING)
    paused = until(prefect_client, run, PAUSED_FOR_BILLING, prefect_worker)
    assert paused.state is not None
    assert (paused.state.type.value, paused.state.message) == ("PAUSED", "napping")
    assert ended_by_resume(states_of(prefect_client, run)) is None
    prefect_client.resume_flow_run(run)  # as the button in the UI does
    deadline = time.monotonic() + 300
    while len((tmp_path / "diary").read_text().splitlines()) < 2:
        assert time.monotonic() < deadline, prefect_worker.read_text()[-3000:]
        time.sleep(0.05)
    until(prefect_client, run, PAUSED_FOR_BILLING, prefect_worker)
    *resumed, paused_again = states_of(prefect_client, run)
    assert ended_by_resume(resumed) == PAUSED_FOR_BILLING
    assert ended_by_resume([*resumed, paused_again]) is None
    assert set_without_process(prefect_client, run, AwaitingRetry())
    until(prefect_client, run, "Completed", prefect_worker)
    assert ended_by_resume(states_of(prefect_client, run)) is None
    assert len({line.split()[0] for line in (tmp_path / "diary").read_text().splitlines()}) == 3


def states_of(client: SyncPrefectClient, run: UUID) -> list[Any]:
    """Oldest first."""
    return sorted(client.read_flow_run_states(run), key=lambda state: state.timestamp)
