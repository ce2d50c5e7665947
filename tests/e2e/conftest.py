"""A deployed installation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from rigs.batch_service import BatchService
from rigs.installation import Installation, T, Until
from rigs.prefect_server import LOOKS_OFTEN, PrefectServer, StartPrefectServer


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: StartPrefectServer) -> PrefectServer:
    """A server whose services look often."""
    return prefect_server_with(**LOOKS_OFTEN)


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
