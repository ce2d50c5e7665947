"""A deployed installation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from rigs.batch_service import BatchService
from rigs.installation import Installation, T, Until
from rigs.postgres import MakeDatabase
from rigs.prefect_server import PrefectServer, StartPrefectServer

FAST = {  # what a night takes hours for happens in seconds
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_DEPLOYMENT_BATCH_SIZE": "10",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "1",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_TRIGGERS_PG_NOTIFY_HEARTBEAT_INTERVAL_SECONDS": "1",
}


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: StartPrefectServer, postgres_url: MakeDatabase) -> PrefectServer:
    """A server whose services look often; on PostgreSQL, since on SQLite they lock each other out when all are busy."""
    database = postgres_url().replace("+psycopg", "+asyncpg")
    return prefect_server_with(**FAST, PREFECT_SERVER_DATABASE_CONNECTION_URL=database)


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: PrefectServer,
    session_batch_service: BatchService,
) -> Iterator[Installation]:
    """Everything but what a test deploys and starts."""
    installation = Installation(
        tmp_path_factory.mktemp("installation"), prefect_server, session_batch_service
    )
    yield installation
    if installation.worker is not None and installation.worker.poll() is None:
        installation.kill_worker()  # told to go, it may wait longer than a test should
    installation.alerts.server.shutdown()


@pytest.fixture
def until(installation: Installation) -> Until:
    """Polls until a question has a true answer; the worker's log is shown when it never has."""

    def ask(question: Callable[[], T], what: str, seconds: float = 300) -> T:
        deadline = time.monotonic() + seconds
        while not (answer := question()):
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}\n{installation.log()}"
            time.sleep(0.2)
        return answer

    return ask
