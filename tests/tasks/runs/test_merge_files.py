"""Chunks that are merged by other processes: the same bytes, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from rigs.checkout import ROOT
from rigs.dask_cluster import DaskServers
from rigs.works import merge_but_die_once, modules_after_merge
from rigs.workspace import Workspace, everything_once
from tasks import merge
from tasks.execution.dask_cluster import DaskCluster
from tasks.execution.engine import Engine
from tasks.execution.in_process import InProcess
from tasks.execution.process_pool import ProcessPool
from tasks.runs.chunk_files import enriched_name
from tasks.runs.merge_files import MergeOutcome, MergeWork, merge_files

CHUNKS = 4


@pytest.fixture
def works(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[MergeWork]:
    """The chunks of a run that is finished, one with a second attempt, as they were merged last."""
    works: dict[int, MergeWork] = {}

    def noted(work: MergeWork) -> MergeOutcome:
        works[work.chunk.number] = work
        return merge_files(work)

    workspace.source(40)
    workspace.change("limits.max_requests", 10)
    workspace.faults("row_error:500:t-3*1")
    with monkeypatch.context() as patched:
        patched.setattr(merge, "merge_files", noted)
        workspace.run()
    return [works[number] for number in sorted(works)]


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    engines: list[Engine] = [InProcess(), ProcessPool(2), ProcessPool(4)]
    yield engines
    for engine in engines:
        engine.close()


def writes_the_same_bytes(engine: Engine, works: list[MergeWork]) -> None:
    assert len(works) == CHUNKS
    expected = [(Path(work.folder_url) / enriched_name(work.chunk.number)).read_bytes() for work in works]
    with ThreadPoolExecutor(CHUNKS) as threads:
        outcomes = list(threads.map(lambda work: engine.run(merge_files, work), works))
    written = [Path(work.folder_url, outcome.written) for work, outcome in zip(works, outcomes, strict=True)]
    assert [path.read_bytes() for path in written] == expected
    assert len(set(written)) == CHUNKS


def test_one_two_and_four_processes_write_the_same_bytes(
    works: list[MergeWork], engines: list[Engine]
) -> None:
    for engine in engines:
        writes_the_same_bytes(engine, works)


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same_bytes(works: list[MergeWork], dask_servers: DaskServers) -> None:
    with closing(DaskCluster(dask_servers.address)) as engine:
        writes_the_same_bytes(engine, works)


def test_a_process_that_merges_imports_neither_prefect_nor_an_sdk(
    works: list[MergeWork], engines: list[Engine]
) -> None:
    loaded = engines[1].run(modules_after_merge, works[0])
    assert "tasks.runs.merge_files" in loaded
    assert not loaded & {"prefect", "openai", "anthropic", "google.genai", "pandas"}


def test_a_process_killed_in_the_middle_of_a_merge_leaves_nothing_but_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.change("limits.max_requests", 5)
    workspace.change("execution", {"processes": 2})
    monkeypatch.setattr(merge, "merge_files", merge_but_die_once)
    workspace.run()
    assert list((workspace.folder / "home/runs").rglob("struck"))
    everything_once(workspace)
    assert half_written(workspace) == []


def test_a_run_killed_while_another_process_merges_goes_on(workspace: Workspace) -> None:
    workspace.change("limits.max_requests", 5)
    workspace.change("execution", {"processes": 2})
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    owner = subprocess.run(
        [sys.executable, "-m", "rigs.merge_owner", workspace.write()],
        env=environment,
        cwd=workspace.folder,
        check=False,
    )
    assert owner.returncode == -signal.SIGKILL
    assert half_written(workspace) != []
    workspace.run()
    everything_once(workspace)
    assert half_written(workspace) == []


def half_written(workspace: Workspace) -> list[Path]:
    """Files that nobody has adopted."""
    return list((workspace.folder / "home/runs").rglob("*.part"))
