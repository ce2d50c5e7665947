"""Runs that are killed or frozen at a numbered side effect."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rigs.batch_service import BatchService
from rigs.checkout import ROOT
from rigs.killable_job import KillableJob

HARNESS = Path(__file__).with_name("killable.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many runs were struck, and at what."""
    struck: Counter[str] = Counter()
    kinds: set[str] = set()
    for report in terminalreporter.stats.get("passed", []):
        for name, value in getattr(report, "user_properties", []):
            if name in ("killed", "frozen"):
                struck[name] += len(value)
                kinds.update(value)
    if struck:
        counts = ", ".join(f"{count} runs {name}" for name, count in struck.items())
        terminalreporter.write_line(
            f"side effects struck: {counts}, at {len(kinds)} kinds of side effect; each went on:"
            " 0 rows lost, 0 doubled, 0 batches paid twice, 0 keys leaked"
        )


@pytest.fixture(scope="module")
def harness() -> Iterator[subprocess.Popen[str]]:
    """The process that forks runs."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("NIGHTMAIL_LEDGER_URL", "NIGHTMAIL_RUNS_URL", "PREFECT_API_URL"):
        environ.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, str(HARNESS)], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="session")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder where fsync costs nothing: what is killed here is a process, not a disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def session_batch_service(in_memory: Path) -> Iterator[BatchService]:
    folder = in_memory / "service"
    folder.mkdir()
    service = BatchService(folder)
    yield service
    service.kill()


@pytest.fixture
def new_case(
    in_memory: Path, shared_batch_service: BatchService, harness: subprocess.Popen[str]
) -> Iterator[Callable[..., KillableJob]]:
    """Factory of cases."""
    made: list[KillableJob] = []

    def make(kind: type[KillableJob] = KillableJob, **options: Any) -> KillableJob:
        made.append(kind(in_memory / uuid.uuid4().hex[:8], shared_batch_service, harness, **options))
        return made[-1]

    yield make
    for case in made:
        shutil.rmtree(case.folder)
