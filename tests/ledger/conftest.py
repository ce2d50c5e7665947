"""A clock that stands still, and a ledger on every database that must behave the same."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.ledger.records import ChunkRecord, Lease
from tasks.ledger.states import ChunkState, RunState
from tasks.ledger.store import Ledger


class HandClock:
    """Time moves when the test says so."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        yield request.getfixturevalue("postgres_url")()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """A throwaway cluster; each call makes a database in it and gives its URL."""
    programs = _postgres_programs()
    if programs is None:
        if os.environ.get("NIGHTMAIL_TEST_POSTGRES") == "required":
            pytest.fail("no PostgreSQL server on PATH or below /usr/lib/postgresql, and it is required here")
        pytest.skip("no PostgreSQL server on PATH or below /usr/lib/postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    folder.chmod(0o755)
    user = _as_ordinary_user(folder)
    data = folder / "data"
    subprocess.run(
        [*user, programs / "initdb", "-D", data, "-U", "nightmail", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            *user,
            programs / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-h",
            "127.0.0.1",
            "-k",
            "",
            "-c",
            "fsync=off",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    base = f"postgresql+psycopg://nightmail@127.0.0.1:{port}"
    admin = sa.create_engine(f"{base}/postgres", isolation_level="AUTOCOMMIT")
    _until_it_answers(admin)
    names = (f"ledger{number}" for number in itertools.count())

    def make() -> str:
        name = next(names)
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        return f"{base}/{name}"

    yield make
    admin.dispose()
    server.send_signal(signal.SIGINT)  # do not wait for pooled connections
    server.wait(20)


def _postgres_programs() -> Path | None:
    found = shutil.which("postgres")
    folders = (
        [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _as_ordinary_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    for parent in list(folder.parents)[:3]:
        parent.chmod(0o755)
    return ["setpriv", "--reuid=nobody", "--clear-groups"]


def _until_it_answers(engine: sa.Engine) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.1)


@pytest.fixture
def ledger(ledger_url: str, clock: HandClock) -> Ledger:
    return Ledger(ledger_url, clock)


@pytest.fixture
def new_run(ledger: Ledger) -> Callable[..., Lease]:
    """Make a run and hold its lease."""

    def make(
        run_id: str = "r1", key: str = "2026-11-21", chunks: int = 1, origin: str | None = None
    ) -> Lease:
        ledger.create_run(
            run_id,
            job="letters",
            key=key,
            generation=1,
            logical_date=date(2026, 11, 21),
            spec={"name": "letters"},
            identity={"name": "letters"},
            folder=f"letters/{key}",
            origin=origin,
        )
        lease = ledger.claim(run_id, "me", 60, lambda _: False)
        prepared = tuple(
            ChunkRecord(run_id, number, number * 5, 5, ChunkState.PREPARED, 1, 1, 5, 100, 25)
            for number in range(1, chunks + 1)
        )
        ledger.replace_chunks(lease, prepared, state=RunState.RUNNING)
        return lease

    return make
