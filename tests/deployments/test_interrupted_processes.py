"""Servers, workers and engines that are killed, told to go or frozen while runs are at every moment of their life: each
run ends as it should by itself, pays nothing twice, and a person is told where one is needed.

One strike hits six runs at once, each held at a moment of its own; minutes each: by hand, with -m soak and -k.
"""

from __future__ import annotations

import queue
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from rigs.interruptions import HeldRun, engines, is_frozen, let_go, send
from rigs.prefect_server import PrefectServer, StartPrefectServer
from rigs.site import Site
from rigs.webhook import webhook
from tasks.ledger.database import open_database

pytestmark = pytest.mark.soak

MOMENTS = ("asleep", "running", "cancelling", "falling asleep", "waking", "pending")
NAP = 15.0
NAPS = {"asleep": 90.0, "waking": 20.0, "falling asleep": 40.0}
"""Seconds. A worker takes a run up ten seconds before its time: one that naps for less is not seen asleep."""
LATER = 20.0
SECOND = 1 / 60
LONG = 1200.0
"""Seconds in which a machine that does much else comes to any state."""


def strike(victim: str, how: str, database: str, away: float, restarts: int) -> object:
    name = f"{victim}-{how}-{database}-{'one second' if away < 1 else '20 minutes'}-{restarts}"
    return pytest.param(victim, how, database, away, restarts, id=name)


STRIKES = [
    strike("server and worker", "SIGKILL", "postgresql", LATER, 1),
    strike("engine", "SIGSTOP", "sqlite", LATER, 1),
    strike("worker", "SIGTERM", "postgresql", SECOND, 1),
    strike("server", "SIGSTOP", "postgresql", SECOND, 1),
    strike("worker", "SIGKILL", "sqlite", LATER, 1),
    strike("server and worker", "SIGTERM", "sqlite", SECOND, 2),
    strike("engine", "SIGKILL", "postgresql", SECOND, 1),
    strike("server", "SIGKILL", "sqlite", LATER, 2),
    strike("server and worker", "SIGSTOP", "postgresql", LATER, 1),
    strike("worker", "SIGSTOP", "sqlite", LATER, 1),
    strike("engine", "SIGTERM", "sqlite", LATER, 1),
    strike("server", "SIGTERM", "postgresql", LATER, 2),
]


@pytest.fixture
def prefect_server(database: str, prefect_server_with: StartPrefectServer) -> PrefectServer:
    """A fresh server for each strike, on that kind of database."""
    return prefect_server_with(on_sqlite=database == "sqlite")


@pytest.fixture
def deployed_site(site: Site) -> Iterator[tuple[Site, queue.Queue[str]]]:
    """The site as `nightmail deploy` makes it, and the alerts; no process of a run stays."""
    with webhook() as (url, told):
        site.deploy(webhook=url)
        open_database(site.workspace.home.ledger_url)  # made by nobody who is struck meanwhile
        yield site, told
    for worker in site.workers:
        worker.kill()
    for process, _ in engines(site.workspace.home.folder):
        send(process, signal.SIGKILL)
    site.server.process.kill()


@pytest.mark.parametrize(("victim", "how", "database", "away", "restarts"), STRIKES)
def test_runs_end_as_they_should_whatever_is_struck_and_when(
    deployed_site: tuple[Site, queue.Queue[str]], victim: str, how: str, away: float, restarts: int
) -> None:
    site, told = deployed_site
    worker = site.start_worker()
    runs: dict[str, HeldRun] = {}
    for some in (MOMENTS[:-1], MOMENTS[-1:]):  # at most four are at work, as prefect.yaml says
        runs |= {moment: HeldRun(site, moment, NAPS.get(moment, NAP)) for moment in some}
        wait_until_all_are_there(runs)
    cancel(runs["cancelling"])

    struck = {
        "server": [site.server.process.pid],
        "worker": [worker.pid],
        "server and worker": [site.server.process.pid, worker.pid],
        "engine": [process for run in runs.values() for process in run.engines()],
    }[victim]
    for process in struck:
        send(process, signal.Signals[how])
    held = [process for process, _ in engines(site.workspace.home.folder)]
    let_go([process for process in held if how != "SIGSTOP" or process not in struck])
    for _ in range(restarts):
        time.sleep(1)
        come_back(site, victim, how, worker, struck, away)
    if victim in ("worker", "server and worker") and how != "SIGSTOP" and away == LATER:
        assert_told(told, "no worker takes it up")
        site.start_worker()

    wait_for_their_ends(site, list(runs.values()), struck if how == "SIGSTOP" else [], max(away, 15))
    report = {moment: (run.state, run.most_paid(), site.history(run.id)) for moment, run in runs.items()}
    print(report)
    for moment, (state, paid, _) in report.items():
        assert state == ("Cancelled" if moment == "cancelling" else "Completed"), report
        assert paid <= 1, report
        if moment != "cancelling":
            assert runs[moment].statuses() == {"succeeded": 10}, moment
            assert paid == 1, report
    assert {batch.status for batch in runs["cancelling"].batches()} <= {"cancelled"}, report


def wait_until_all_are_there(runs: dict[str, HeldRun]) -> None:
    deadline = time.monotonic() + LONG
    while missing := [moment for moment, run in runs.items() if not run.is_there()]:
        assert time.monotonic() < deadline, {moment: runs[moment].state for moment in missing}
        time.sleep(0.2)


def cancel(run: HeldRun) -> None:
    from prefect.states import Cancelling

    run.site.client.set_flow_run_state(run.id, Cancelling())  # as the button in the UI does


def come_back(
    site: Site, victim: str, how: str, worker: subprocess.Popen[bytes], struck: list[int], away: float
) -> None:
    """What is gone is started again, what is frozen goes on; a sweep of its own was there all the while."""
    if "server" in victim:
        if how == "SIGSTOP":
            send(site.server.process.pid, signal.SIGCONT)
        else:
            site.server.stop()
            site.server.start()
        site.wait_for_server()
    if "worker" in victim and how != "SIGSTOP":
        wait_for_the_end_of(worker)
    if away == LATER:
        wait_for_the_living(site)
        site.sweep_later(minutes=away)
    if "worker" in victim:
        if how == "SIGSTOP":
            send(worker.pid, signal.SIGCONT)
        elif away != LATER:
            site.start_worker()


def wait_for_the_living(site: Site) -> None:
    """Processes that are well would have shown it by the time of a later sweep; those that nap do end."""
    deadline = time.monotonic() + 120
    while any(not is_frozen(process) for process, _ in engines(site.workspace.home.folder)):
        if time.monotonic() > deadline:
            return  # there is always one: what a sweep does to it, its lease makes good
        time.sleep(1)


def wait_for_the_end_of(worker: subprocess.Popen[bytes]) -> None:
    """A worker that was told to go waits for its runs, and is killed when that takes too long."""
    try:
        worker.wait(30)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def wait_for_their_ends(site: Site, runs: list[HeldRun], frozen: list[int], minutes: float) -> None:
    """Until all have ended, with a sweep of the product's later time whenever no process and no sleep is left to wait for.

    What is frozen is so for that long: it goes on when everything else is over.
    """
    home = site.workspace.home.folder
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        found = [run.flow_run() for run in runs]
        alive = [process for process, _ in engines(home) if not is_frozen(process)]
        over = all(it.state and it.state.is_final() and it.state.name != "Crashed" for it in found)
        if not alive and over and is_paid_off(runs):
            if not frozen:
                return
            let_go(frozen)  # too late: others have done its work
            frozen, deadline = [], time.monotonic() + LONG
        elif not alive and not any(it.state and it.state.is_scheduled() for it in found):
            site.sweep_later(minutes)
            time.sleep(8)
        time.sleep(2)
    raise AssertionError([(run.moment, site.history(run.id)) for run in runs] + [site.log()[-3000:]])


def is_paid_off(runs: list[HeldRun]) -> bool:
    """Whether no batch of the cancelled one costs money any more."""
    return all(
        batch.status == "cancelled" for run in runs if run.moment == "cancelling" for batch in run.batches()
    )


def assert_told(told: queue.Queue[str], what: str) -> None:
    deadline = time.monotonic() + LONG
    while what not in told.get(timeout=max(1.0, deadline - time.monotonic())):
        pass
