"""A real Prefect server, and a client and a worker of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import pytest

from rigs.checkout import ROOT
from rigs.ports import free_port
from rigs.postgres import MakeDatabase, postgres_programs

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun

LOOKS_OFTEN = {  # what a night takes hours for happens in seconds
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_DEPLOYMENT_BATCH_SIZE": "10",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "1",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_TRIGGERS_PG_NOTIFY_HEARTBEAT_INTERVAL_SECONDS": "1",
}


class PrefectServer:
    """A Prefect server of its own in a folder."""

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._settings = {
            "PREFECT_HOME": str(folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_TIMEOUT": "120",  # a machine that is busy with other tests is slow
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
            **environ,
        }

    @property
    def environ(self) -> dict[str, str]:
        """What its clients and workers need, and what the test has set since."""
        return {**os.environ, **self._settings}

    def start(self) -> None:
        """Start (again), on the same folder and port; returns before it answers."""
        self.process = self._run("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))

    def worker(self, folder: Path, *options: str, **environ: str) -> subprocess.Popen[bytes]:
        """A worker of the pool `nightmail`; what it says is in `folder`/worker.log."""
        return self._run(
            "worker", "worker", "start", "--pool", "nightmail", *options, folder=folder, **environ
        )

    def _run(
        self, log: str, *words: str, folder: Path | None = None, **environ: str
    ) -> subprocess.Popen[bytes]:
        where = folder or self.folder
        with (where / f"{log}.log").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", *words],
                env={**self.environ, **environ},
                stdout=out,
                stderr=out,
                cwd=where,
            )

    def stop(self) -> None:
        """Stop it as an operator would."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def connected(self) -> Iterator[SyncPrefectClient]:
        """A client of it, once it answers."""
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: self.url}), get_client(sync_client=True) as client:
            deadline = time.monotonic() + 600
            while client.api_healthcheck() is not None:
                assert time.monotonic() < deadline, "the Prefect server did not start"
                time.sleep(0.2)
            yield client


def latest_run(client: SyncPrefectClient) -> FlowRun:
    """The flow run that began last."""
    from prefect.client.schemas.sorting import FlowRunSort

    (run,) = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    return run


def logged(client: SyncPrefectClient, run: UUID) -> list[tuple[int, str]]:
    """Level and text of what the flow run's log holds, its steps' included, by time."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    records = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))
    return [(record.level, record.message) for record in records]


def steps_of(client: SyncPrefectClient, run: UUID) -> list[TaskRun]:
    """The steps of a flow run that published: the server may hear of them after it has heard of the flow run's end."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    deadline = time.monotonic() + 240
    while True:
        steps = client.read_task_runs(flow_run_filter=mine)
        ended = [step.name for step in steps if step.state is not None and step.state.is_final()]
        if len(ended) == len(steps) and "publish" in ended:
            return steps
        assert time.monotonic() < deadline, (
            f"the server did not hear of all steps, only of the end of {ended}"
        )
        time.sleep(0.1)


class StartPrefectServer(Protocol):
    """Starts a server; its settings are keywords, as variables of its environment.

    Its database is a PostgreSQL one where PostgreSQL is installed: on SQLite, what a killed process has left open at the
    server locks all others out for a minute or two, and event consumers lock each other out now and then.
    """

    def __call__(self, *, on_sqlite: bool = False, **environ: str) -> PrefectServer: ...


@pytest.fixture(scope="session")
def empty_prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a server that was never started: made once for all processes, since it takes 15 s each time."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-template"
    with (base.parent / "prefect-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            _make_tables(PREFECT_HOME=str(folder))
            (folder / "made").touch()
    return folder / "prefect.db"


@pytest.fixture(scope="session")
def prefect_database(
    postgres_url: MakeDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Makes the PostgreSQL database of a server that was never started; its URL for that server."""
    empty = postgres_url()
    home = str(tmp_path_factory.mktemp("prefect-home"))
    _make_tables(PREFECT_HOME=home, PREFECT_SERVER_DATABASE_CONNECTION_URL=_for_prefect(empty))
    return lambda: _for_prefect(postgres_url(copy_of=empty))


def _for_prefect(url: str) -> str:
    return url.replace("+psycopg", "+asyncpg")


def _make_tables(**environ: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def prefect_server_with(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[StartPrefectServer]:
    """Factory of fresh servers, started."""
    started: list[PrefectServer] = []

    def start(*, on_sqlite: bool = False, **environ: str) -> PrefectServer:
        folder = tmp_path_factory.mktemp("prefect")
        if on_sqlite or postgres_programs() is None:
            shutil.copy(request.getfixturevalue("empty_prefect_database"), folder)
        else:
            database = request.getfixturevalue("prefect_database")()
            environ = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database, **environ}
        server = PrefectServer(folder, **environ)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: StartPrefectServer) -> PrefectServer:
    """A fresh server for the module; wait for it with `prefect_client`."""
    return prefect_server_with()


@pytest.fixture
def prefect_client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    """A client of that server, once it answers."""
    with prefect_server.connected() as client:
        yield client


@pytest.fixture(scope="module")
def prefect_worker(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A process worker for the module; the path of its log."""
    from prefect.client.schemas.actions import WorkPoolCreate

    with prefect_server.connected() as client:
        client.create_work_pool(WorkPoolCreate(name="nightmail", type="process"))
    folder = tmp_path_factory.mktemp("worker")
    process = prefect_server.worker(folder)
    yield folder / "worker.log"
    process.kill()  # told to go, it may wait longer than a test should
    process.wait()
