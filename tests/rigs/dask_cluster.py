"""A real Dask cluster on loopback: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.checkout import ROOT
from rigs.ports import free_port

WORKERS = 2


class DaskServers:
    """A scheduler at `address` and its workers, whose nannies start them again when they die."""

    ALLOWED_FAILURES = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environ = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",  # the tests' for rigs/works.py
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(self.ALLOWED_FAILURES),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--idle-timeout", "10 minutes")

    def start_workers(self, count: int = WORKERS, **environ: str) -> None:
        """Start workers of one thread each; does not wait for them."""
        options = [
            "--nthreads",
            "1",
            "--memory-limit",
            "0",
            "--death-timeout",
            "60",
            "--local-directory",
            str(self._folder),
        ]
        self._start("worker", self.address, "--nworkers", str(count), *options, **environ)

    def kill(self) -> None:
        """End everything, the scheduler first; a worker that is told to end takes eight seconds."""
        while self._processes:
            process = self._processes.pop(0)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)

    def _start(self, *words: str, **environ: str) -> None:
        with (self._folder / "dask.log").open("ab") as log:
            command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
            self._processes.append(
                subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    start_new_session=True,
                    env={**self._environ, **environ},
                )
            )


@pytest.fixture(scope="module")
def dask_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskServers]:
    """A scheduler and two workers."""
    pytest.importorskip("distributed")
    servers = DaskServers(tmp_path_factory.mktemp("dask"))
    servers.start_workers()
    yield servers
    servers.kill()
