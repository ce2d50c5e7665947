"""Preparing by ranges: the same files whoever makes them, and nothing counts that was not adopted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.clock import SystemClock
from configs.errors import InputError
from configs.progress import SilentReporter
from configs.request import RunRequest
from rigs.dask_cluster import DaskServers
from rigs.workspace import Workspace
from tasks.execution.dask_cluster import DaskCluster
from tasks.execution.engine import Engine
from tasks.execution.in_process import InProcess
from tasks.execution.process_pool import ProcessPool
from tasks.providers.registry import connect
from tasks.runs.opening import open_run
from tasks.runs.prepared_ranges import PreparedRange, prepared_ranges, survey
from tasks.runs.request import resolve_request
from tasks.runs.session import Run, shard_limits
from tasks.stages.plan import RequestPlan

W = TypeVar("W")
R = TypeVar("R")
ROWS, RANGE, REQUESTS = 100, 12, 5


class Twice(InProcess):
    """Does each work twice, as it is done after a process was killed; counts as two processes."""

    processes = 2

    def results(self, function: Callable[[W], R], works: Iterable[W]) -> Iterator[R]:
        """The second results."""
        return ([function(work), function(work)][1] for work in works)


class Threads(InProcess):
    """Does works side by side in one process, as a worker of a cluster with several threads."""

    processes = 4

    def results(self, function: Callable[[W], R], works: Iterable[W]) -> Iterator[R]:
        """As the engine's."""
        with ThreadPoolExecutor(4) as pool:
            yield from pool.map(function, works)


class Walk:
    """A run whose rows are prepared, and never posted."""

    def __init__(self, workspace: Workspace) -> None:
        workspace.change("limits.max_requests", REQUESTS)
        self._workspace, self._clock = workspace, SystemClock()
        self.resolved = resolve_request(RunRequest(workspace.write(), key="k"), workspace.home, self._clock)
        self.service = connect(self.resolved.job.provider, workspace.home, os.environ)

    def __call__(
        self, engine: Engine, most: int | None = None, **options: Any
    ) -> tuple[list[PreparedRange], dict[str, bytes]]:
        """The ranges, or the first `most` of them, and what the run folder has then."""
        with (
            open_run(self.resolved, self.service, self._workspace.home, self._clock) as run,
            closing(engine),
            closing(prepared_ranges(run, [self.plan(run)], engine, SilentReporter(), **options)) as ranges,
        ):
            found = list(islice(ranges, most))
            return found, {name: run.folder.read(name).read() for name in run.folder.names("chunks")}

    def plan(self, run: Run) -> RequestPlan:
        """What is asked, in ranges of a few rows."""
        limits = run.service.limits
        return RequestPlan(run.job, shard_limits(run.job, limits), limits.custom_id, RANGE)

    def survey(self) -> tuple[int, int]:
        """Rows and ranges."""
        with open_run(self.resolved, self.service, self._workspace.home, self._clock) as run:
            found = survey([self.plan(run)])
            return found.rows, found.ranges

    def left(self) -> list[str]:
        """Files that nobody adopted."""
        return [str(path) for path in self._workspace.folder.rglob("unfinished/**/*") if path.is_file()]


def write(workspace: Workspace, group_rows: int = 7, files: int = 1) -> None:
    """ROWS rows with a nested column and one of categories."""
    folder = workspace.folder / "rows"
    folder.mkdir(exist_ok=True)
    count = ROWS // files
    for file in range(files):
        numbers = range(file * count, (file + 1) * count)
        columns: dict[str, Any] = {
            "id": [f"t-{n}" for n in numbers],
            "text": [f"word {n}" * (n % 9) for n in numbers],
            "tags": [[{"n": n}] * (n % 3) for n in numbers],
            "kind": pa.array([f"k{n // 30}" for n in numbers]).dictionary_encode(),
        }
        pq.write_table(pa.table(columns), folder / f"{file}.parquet", row_group_size=group_rows)
    workspace.change("source.path", "rows")


@pytest.mark.parametrize(
    ("group_rows", "files"),
    [
        pytest.param(7, 1, marks=pytest.mark.slow),
        pytest.param(12, 1, marks=pytest.mark.slow),
        pytest.param(1000, 1, marks=pytest.mark.slow),
        (7, 4),
    ],
)
def test_no_chunk_crosses_a_border_and_all_engines_make_the_same_files(
    workspace: Workspace, group_rows: int, files: int
) -> None:
    write(workspace, group_rows, files)
    walk = Walk(workspace)
    ranges, alone = walk(InProcess())
    chunks = [chunk for each in ranges for chunk in each.chunks]
    assert [chunk.number for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert [chunk.first_row for chunk in chunks[:4]] == [0, 5, 10, 12]
    assert [each.rows for each in ranges] == [12] * 8 + [4]
    assert sum(each.sample.requests for each in ranges) == ROWS
    assert len(alone) == 3 * len(chunks)
    assert walk(Threads()) == (ranges, alone)
    assert walk(Twice()) == (ranges, alone)
    assert len(walk.left()) == len(alone)
    assert walk(InProcess()) == (ranges, alone)  # the next owner removes what nobody adopted
    assert walk.left() == []


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_spawned_processes_make_the_same_files(workspace: Workspace, processes: int) -> None:
    write(workspace)
    walk = Walk(workspace)
    assert walk(ProcessPool(processes)) == walk(InProcess())


@pytest.mark.slow
def test_a_dask_cluster_makes_the_same_files(workspace: Workspace, dask_servers: DaskServers) -> None:
    write(workspace)
    walk = Walk(workspace)
    assert walk(DaskCluster(dask_servers.address)) == walk(InProcess())


@pytest.mark.parametrize("engine", [InProcess, Twice])
def test_what_was_stopped_between_ranges_goes_on_with_the_next(
    workspace: Workspace, engine: Callable[[], Engine]
) -> None:
    write(workspace)
    walk = Walk(workspace)
    whole, files = walk(InProcess())
    begun, _ = walk(engine(), most=3)
    chunks = sum(len(each.chunks) for each in begun)
    rest, again = walk(engine(), first=3, first_chunk=chunks + 1)
    assert begun + rest == whole
    assert again == files


def test_sources_that_are_read_in_one_go_are_cut_at_the_same_borders(workspace: Workspace) -> None:
    lines = [f"t-{n},word {n}" for n in range(ROWS)]
    (workspace.folder / "rows.csv").write_text("\n".join(["id,text", *lines]))
    workspace.change("source.path", "rows.csv")
    walk = Walk(workspace)
    whole, files = walk(Twice())
    assert [each.rows for each in whole] == [12] * 8 + [4]
    rest, again = walk(InProcess(), first=5, first_chunk=1 + sum(len(each.chunks) for each in whole[:5]))
    assert (rest, again) == (whole[5:], files)


@pytest.mark.parametrize("engine", [InProcess, Twice])
def test_a_key_that_two_ranges_have_is_found(workspace: Workspace, engine: Callable[[], Engine]) -> None:
    workspace.source(ROWS, who=[f"w{n}" if n != 90 else "w1" for n in range(ROWS)])
    workspace.change("source.key", "who")
    walk = Walk(workspace)
    with pytest.raises(InputError, match=r"'w1' in rows 2, 91"):
        walk(engine())
    with pytest.raises(InputError, match=r"'w1' in rows 2, 91"):
        walk.survey()


def test_a_survey_tells_rows_and_ranges(workspace: Workspace) -> None:
    write(workspace)
    assert Walk(workspace).survey() == (ROWS, 9)


@pytest.mark.parametrize("engine", [InProcess, Twice])
def test_a_source_that_is_replaced_between_ranges_is_refused(
    workspace: Workspace, engine: Callable[[], Engine]
) -> None:
    write(workspace)
    walk = Walk(workspace)
    with open_run(walk.resolved, walk.service, workspace.home, SystemClock()) as run:
        ranges = prepared_ranges(run, [walk.plan(run)], engine(), SilentReporter())
        next(ranges)
        write(workspace)
        with pytest.raises(InputError, match="has changed while it was read"):
            list(ranges)
