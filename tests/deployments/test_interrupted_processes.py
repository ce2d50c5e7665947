"""Servers, workers and engines that are killed, told to go or frozen at every moment of a run: it ends as it should by itself.

Hours: by hand, with -m soak; `-k` picks a part of it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import pytest

from rigs.postgres import MakeDatabase
from rigs.prefect_server import PrefectServer, StartPrefectServer
from rigs.site import Site, engine_of, is_working

pytestmark = pytest.mark.soak

VICTIMS = ("server", "worker", "server and worker", "engine")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGSTOP")
MOMENTS = ("pending", "running", "falling asleep", "asleep", "waking", "cancelling")
SWEEPS = 4
SECONDS_PER_SWEEP = 90


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def prefect_server(request: pytest.FixtureRequest, prefect_server_with: StartPrefectServer) -> PrefectServer:
    """A fresh server for the module on each kind of database."""
    if request.param == "sqlite":
        return prefect_server_with()
    make: MakeDatabase = request.getfixturevalue("postgres_url")
    return prefect_server_with(PREFECT_SERVER_DATABASE_CONNECTION_URL=make().replace("+psycopg", "+asyncpg"))


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("away", [1, 20 * 60], ids=["one second", "twenty minutes"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("signal_name", SIGNALS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_run_ends_as_it_should_whatever_is_struck_and_when(
    site: Site, victim: str, signal_name: str, moment: str, away: int, restarts: int
) -> None:
    site.deploy()
    site.workspace.change("poll", {"first_seconds": 8, "max_seconds": 8})
    site.workspace.faults("status:in_progress:2")
    worker = site.start_worker()
    run = site.start_run()
    engine = come_to(moment, site, run)

    struck = {
        "server": [site.server.process.pid],
        "worker": [worker.pid],
        "server and worker": [site.server.process.pid, worker.pid],
        "engine": [engine] if engine else [],
    }[victim]
    if not struck:
        pytest.skip("no engine is there at that moment")
    site.workspace.service.forgive()
    strike(struck, signal.Signals[signal_name])
    for _ in range(restarts):
        get_up(site, victim, frozen=signal_name == "SIGSTOP", struck=struck)

    minutes = max(away / 60, 0)
    final = "Cancelled" if moment == "cancelling" else "Completed"
    for _ in range(SWEEPS):
        with suppress(AssertionError):
            site.until(
                run, lambda found: found.state.is_final() and found.state.name == final, SECONDS_PER_SWEEP
            )
            break
        site.sweep_later(max(minutes, 15))
    assert site.client.read_flow_run(run).state.name == final, (site.seen, site.log()[-3000:])
    assert max(site.workspace.paid().values(), default=1) == 1
    if final == "Completed":
        assert site.workspace.statuses() == {"succeeded": 10}
        assert site.workspace.paid() == {"1/1": 1}


def come_to(moment: str, site: Site, run: UUID) -> int | None:
    """Wait for that moment of the run; its engine's process, if there is one."""
    from prefect.states import Cancelling

    if moment in ("running", "cancelling"):
        site.workspace.service.fault("retrieve", "delay:100")
        found = site.until(run, is_working)
        if moment == "cancelling":
            site.client.set_flow_run_state(run, Cancelling())
        return engine_of(found)
    wanted: dict[str, Callable[..., bool]] = {
        "pending": lambda it: it.state.name == "Pending",
        "falling asleep": lambda it: it.state.name == "Sleeping",
        "asleep": lambda it: it.state.name == "Sleeping" and not it.infrastructure_pid,
        "waking": lambda it: it.state.name in ("Pending", "Running") and "Sleeping" in site.seen,
    }
    found = site.until(run, wanted[moment])
    return engine_of(found) if found.infrastructure_pid else None


def strike(processes: list[int], signal_sent: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal_sent)
    time.sleep(1)


def get_up(site: Site, victim: str, *, frozen: bool, struck: list[int]) -> None:
    """What was frozen goes on; what is gone is started again."""
    if frozen:
        strike(struck, signal.SIGCONT)
        return
    if "server" in victim:
        site.server.stop()
        site.server.start()
        site.wait_for_server()
    if "worker" in victim:
        site.start_worker()
