"""A throwaway PostgreSQL."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import sqlalchemy as sa

from rigs.ports import free_port


class MakeDatabase(Protocol):
    """Makes a database, empty or a copy of another to which nobody is connected; its URL for SQLAlchemy."""

    def __call__(self, copy_of: str | None = None) -> str: ...


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeDatabase]:
    """A throwaway cluster; each call makes a database in it and gives its URL."""
    port = free_port()
    server = _start(tmp_path_factory.mktemp("postgres"), port)
    base = f"postgresql+psycopg://nightmail@127.0.0.1:{port}"
    admin = sa.create_engine(f"{base}/postgres", isolation_level="AUTOCOMMIT")
    _until_it_answers(admin)
    names = (f"ledger{number}" for number in itertools.count())

    def make(copy_of: str | None = None) -> str:
        name = next(names)
        template = "" if copy_of is None else f" TEMPLATE {sa.make_url(copy_of).database}"
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}{template}"))
        return f"{base}/{name}"

    yield make
    admin.dispose()
    server.send_signal(signal.SIGINT)  # do not wait for pooled connections
    server.wait(120)


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    programs = _needed_programs()
    folder.chmod(0o755)
    user = _as_ordinary_user(folder)
    data = folder / "data"
    layout = ["-U", "nightmail", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(
        [*user, programs / "initdb", "-D", data, *layout], check=True, capture_output=True, cwd="/"
    )
    address = ["-h", "127.0.0.1", "-p", str(port), "-k", ""]
    # Each ledger of a test keeps some connections until the process ends.
    many = ["-c", "max_connections=1000"]
    return subprocess.Popen(
        [*user, programs / "postgres", "-D", data, *address, *many, "-c", "fsync=off"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )


def postgres_programs() -> Path | None:
    """The folder of the programs, if there is one."""
    on_path = shutil.which("postgres")
    folders = (
        [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _needed_programs() -> Path:
    """The same; the test is skipped without one, or fails where it is required."""
    if (folder := postgres_programs()) is not None:
        return folder
    reason = "no PostgreSQL server on PATH or below /usr/lib/postgresql"
    if os.environ.get("NIGHTMAIL_TEST_POSTGRES") == "required":
        pytest.fail(f"{reason}, and it is required here")
    pytest.skip(reason)


def _as_ordinary_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    for parent in folder.parents:
        if parent == Path(tempfile.gettempdir()) or parent.stat().st_uid != os.getuid():
            break  # the machine's own
        parent.chmod(0o755)
    return ["setpriv", "--reuid=nobody", "--clear-groups"]


def _until_it_answers(engine: sa.Engine) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.1)
