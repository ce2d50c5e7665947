"""The pool of processes: whoever is killed takes nothing with it, and nobody outlives the process that began it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.errors import StorageError, TerminalError
from rigs.checkout import ROOT
from rigs.pool_owner import wait_for_ever
from rigs.works import die, die_once, double, main_module, process_id
from tasks.execution.process_pool import ProcessPool


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    pool = ProcessPool(2)
    yield pool
    pool.close()


def test_nothing_is_started_before_the_first_work_and_a_process_stays_for_the_next(pool: ProcessPool) -> None:
    assert pool._all == set()
    first = pool.run(process_id, None)
    assert first != os.getpid()
    assert pool.run(process_id, None) == first
    assert len(pool._all) == 1


def test_a_process_does_not_import_the_program_that_began_it(pool: ProcessPool) -> None:
    assert pool.run(main_module, None) is None


def test_the_work_of_a_killed_process_is_done_by_another(pool: ProcessPool, tmp_path: Path) -> None:
    assert pool.run(die_once, str(tmp_path / "mark")) == "done by another"


def test_a_work_that_kills_is_given_up_and_takes_no_other_with_it(pool: ProcessPool) -> None:
    with ThreadPoolExecutor(4) as threads:
        killing = threads.submit(pool.run, die, None)
        others = threads.map(lambda number: pool.run(double, number), range(20))
        assert list(others) == [2 * n for n in range(20)]
    with pytest.raises(
        TerminalError,
        match=r"^die: its process was killed 3 times, mostly because memory ran out .+ set execution\.processes",
    ):
        killing.result()
    assert pool.run(double, 1) == 2


def test_closing_ends_the_work_under_way(pool: ProcessPool, tmp_path: Path) -> None:
    fifo = _fifo(tmp_path / "a")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.run, wait_for_ever, str(fifo))
        process = int(fifo.read_text())
        pool.close()
        with pytest.raises(StorageError, match="ended before it was done; run the same command again"):
            waiting.result()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_processes_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    fifos = [_fifo(tmp_path / name) for name in ("a", "b")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    owner = subprocess.Popen(
        [sys.executable, "-m", "rigs.pool_owner", *map(str, fifos)], env=environment, cwd=ROOT
    )
    processes = [os.pidfd_open(int(fifo.read_text())) for fifo in fifos]
    owner.kill()
    owner.wait()
    for process in processes:
        assert select.select([process], [], [], 60)[0], "a process has outlived its owner"
        os.close(process)


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path
