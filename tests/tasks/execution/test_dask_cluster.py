"""A Dask cluster as an engine, on real schedulers and workers: what they say, and what becomes of one that dies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.arrow_settings import arrow_settings
from configs.errors import ConfigError, NightmailError, StorageError, TerminalError, TransientError
from configs.extras import Extra
from rigs.checkout import ROOT
from rigs.dask_cluster import DaskServers
from rigs.dask_owner import FENCE
from rigs.pool_owner import wait_for_ever
from rigs.ports import free_port
from rigs.works import arrow_allocator, die, die_once, double, fail_to_read
from tasks.execution import dask_cluster
from tasks.execution.dask_cluster import DaskCluster
from tasks.storage.run_folder import RunFolder


@pytest.fixture
def engine(dask_servers: DaskServers) -> Iterator[DaskCluster]:
    engine = DaskCluster(dask_servers.address)
    yield engine
    engine.close()


@pytest.mark.parametrize("processes", [1, 3])
def test_no_more_works_than_asked_for_are_in_flight(dask_servers: DaskServers, processes: int) -> None:
    taken: list[int] = []

    def works() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    engine = DaskCluster(dask_servers.address, processes)
    for count, _ in enumerate(engine.results(double, works())):
        assert len(taken) - count <= processes
    assert len(taken) == 20
    engine.close()


def test_a_worker_that_cannot_read_the_run_folder_is_named(engine: DaskCluster) -> None:
    with pytest.raises(StorageError, match=r"^Dask worker tcp://127\.0\.0\.1:\d+: rows: is not there$"):
        engine.run(fail_to_read, "rows")


def test_a_worker_holds_no_more_memory_for_arrow_than_a_command(engine: DaskCluster) -> None:
    assert engine.run(arrow_allocator, None) == arrow_settings()["ARROW_DEFAULT_MEMORY_POOL"]


def test_the_work_of_a_killed_worker_is_done_by_another(engine: DaskCluster, tmp_path: Path) -> None:
    assert engine.run(die_once, str(tmp_path / "mark")) == "done by another"


def test_a_work_that_workers_die_of_is_given_up(engine: DaskCluster, dask_servers: DaskServers) -> None:
    with pytest.raises(TerminalError) as raised:
        engine.run(die, None)
    deaths = dask_servers.ALLOWED_FAILURES + 1
    assert str(raised.value).startswith(
        f"Dask at {dask_servers.address}: {deaths} workers died of one chunk, the last was tcp://"
    )
    assert engine.run(double, 1) == 2  # others go on


def test_a_late_worker_of_a_dead_driver_publishes_nothing(dask_servers: DaskServers, tmp_path: Path) -> None:
    url, begun, done = tmp_path / "run", tmp_path / "begun", tmp_path / "done"
    os.mkfifo(begun)
    os.mkfifo(done)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "rigs.dask_owner", dask_servers.address, *map(str, (url, begun, done))]
    owner = subprocess.Popen(command, env=environment, cwd=ROOT)
    with begun.open() as waiting:  # the worker is at it, and goes on when this is read
        owner.kill()
        owner.wait()
        waiting.read()
    written = done.read_text()
    assert (url / written).read_bytes() == b"late"
    assert RunFolder(str(url)).names() == ()
    RunFolder(str(url), stamp=FENCE + 1).delete_unfinished()
    assert [path for path in url.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("connected", [False, True], ids=["when connecting", "with a work"])
def test_workers_with_other_software_are_refused(
    engine: DaskCluster, monkeypatch: pytest.MonkeyPatch, connected: bool
) -> None:
    if connected:
        engine.run(double, 1)
    there = dask_cluster.software()
    monkeypatch.setattr(
        dask_cluster, "software", lambda: {**there, "pyarrow": "0.1", "Nightmail's code": "abc"}
    )
    with pytest.raises(ConfigError) as raised:
        engine.run(double, 1)
    code = there["Nightmail's code"]
    assert re.fullmatch(
        rf"Dask worker tcp://\S+: has pyarrow {there['pyarrow']} instead of 0\.1, Nightmail's code {code}"
        " instead of abc; start scheduler, workers and runs from one image or checkout",
        str(raised.value),
    )


def test_a_cluster_without_workers_is_an_error_to_try_again(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    servers = DaskServers(tmp_path)
    try:
        engine = DaskCluster(servers.address, alone_seconds=0.2)
        with pytest.raises(TransientError, match=r"has had no worker for 0 s; start one: dask worker tcp://"):
            engine.run(double, 1)
        engine.close()
    finally:
        servers.kill()


def test_a_scheduler_that_dies_is_an_error_to_try_again_for_all_that_wait(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    servers = DaskServers(tmp_path)
    try:
        servers.start_workers(1)
        engine = DaskCluster(servers.address)
        fifo = tmp_path / "begun"
        os.mkfifo(fifo)
        with ThreadPoolExecutor(2) as threads:
            waiting = [threads.submit(engine.run, wait_for_ever, str(fifo)) for _ in range(2)]
            fifo.read_text()  # one is at it, the other waits for the worker
            servers.kill()
            for future in waiting:
                with pytest.raises(TransientError, match="the scheduler cannot be reached"):
                    future.result()
        engine.close()
    finally:
        servers.kill()


def test_a_scheduler_that_is_not_there_is_an_error_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 0.2)
    engine = DaskCluster(f"tcp://127.0.0.1:{free_port()}")
    with pytest.raises(
        TransientError,
        match=r"the scheduler cannot be reached \(.+\); start it, or correct execution.address",
    ):
        engine.run(double, 1)
    engine.close()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "DASK", Extra("dask", "distributed", "nosuch"))
    with pytest.raises(
        NightmailError, match=r"^execution.engine dask: needs the package distributed; in the checkout"
    ):
        DaskCluster("tcp://127.0.0.1:8786")
