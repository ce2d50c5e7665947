"""Whole jobs on a Dask cluster with the run folder on S3 and the ledger in PostgreSQL: the same bytes, whoever is killed."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configs.clock import SystemClock
from configs.home import Home
from configs.request import RunRequest
from rigs import dask_job
from rigs.batch_service import BatchService
from rigs.checkout import ROOT
from rigs.command_line import until
from rigs.dask_cluster import DaskServers
from rigs.postgres import MakeDatabase
from rigs.s3 import S3Prefix, S3Server
from rigs.workspace import Workspace, everything_once
from tasks.enrich import enrich_rows
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger
from tasks.merge import merge_again
from tasks.providers.registry import connect
from tasks.runs.chunk_files import enriched_name
from tasks.runs.opening import open_run
from tasks.runs.request import resolve_request
from tasks.runs.session import Run
from tasks.stages import ranges
from tasks.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow
ROWS, REQUESTS = 12, 2
CHUNKS = ROWS // REQUESTS
PREPARED = ("requests-1.jsonl", "lines.parquet", "rows.arrows")
ENRICHED = "enriched.parquet"


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is to strike the runs is left for them: see rigs/dask_job.py."""
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def cluster(
    orders: Path, s3_server: Callable[[str], S3Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaskServers]:
    """A scheduler, and two workers that reach the S3 server."""
    pytest.importorskip("distributed")
    servers = DaskServers(tmp_path_factory.mktemp("dask"))
    servers.start_workers(**s3_server("seaweedfs").environ, **{dask_job.ORDERS: str(orders)})
    yield servers
    servers.kill()


class ClusterJob(Workspace):
    """A job whose chunks are made and merged on the cluster: six of two rows each, in three ranges."""

    def __init__(self, folder: Path, service: BatchService, orders: Path) -> None:
        super().__init__(folder, service)
        self.home = Home.from_environment(os.environ)
        self.run_folder = RunFolder(f"{self.home.runs_url}/letters/k")
        self._all_orders = orders
        self._orders = dask_job.orders_for(orders, self.home.runs_url)
        self._orders.mkdir()
        self._drivers: list[subprocess.Popen[bytes]] = []

    def order(self, moment: str, what: str = "") -> None:
        """Let whoever comes there first be struck; `go` lets the others go on that are held."""
        new = self._orders / f"{moment}.new"
        new.write_text(what)
        new.rename(self._orders / moment)

    def take_back(self, moment: str) -> None:
        """The order holds no longer."""
        (self._orders / moment).unlink()

    def has(self, name: str) -> bool:
        """Whether somebody was struck at a moment (`MOMENT.taken`), and came to an end all the same (`MOMENT.done`)."""
        return (self._orders / name).exists()

    def start(self) -> subprocess.Popen[bytes]:
        """The job, as a process of its own."""
        path = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        driver = subprocess.Popen(
            [sys.executable, "-m", "rigs.dask_job", self.write()],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, dask_job.ORDERS: str(self._all_orders)},
        )
        self._drivers.append(driver)
        return driver

    def finish(self) -> None:
        """The job to its end, by the same command."""
        assert self.start().wait(240) == 0

    def end(self) -> None:
        """Leave no process behind, and nobody held."""
        for driver in self._drivers:
            driver.kill()
            driver.wait(60)
        self.order("go")

    @property
    def fence(self) -> int:
        """How many processes have held the run's lease."""
        return self._run.fence

    @property
    def _run(self) -> RunRecord:
        run = self._one_ledger.latest_run("letters", "k")
        assert run is not None
        return run

    @functools.cached_property
    def _one_ledger(self) -> Ledger:
        return self.ledger

    def has_posted(self, batches: int) -> bool:
        """Whether so many batches are at the provider."""
        return sum(batch.batch_id is not None for batch in self._one_ledger.batches(self._run.id)) >= batches

    @property
    def answers(self) -> dict[str, list[object]]:
        """The output's columns but for the batches' ids."""
        columns: dict[str, list[object]] = self.out.drop_columns("llm_batch_id").to_pydict()
        return columns


@pytest.fixture
def job(
    workspace: Workspace,
    cluster: DaskServers,
    orders: Path,
    s3: S3Prefix,
    postgres_url: MakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ClusterJob]:
    monkeypatch.setenv("NIGHTMAIL_LEDGER_URL", postgres_url())
    monkeypatch.setenv("NIGHTMAIL_RUNS_URL", f"{s3.url}/runs")
    job = ClusterJob(workspace.folder, workspace.service, orders)
    job.source(ROWS)
    s3.fs.put_file(str(job.folder / "rows.parquet"), f"{s3.url}/rows.parquet")
    job.change("source.path", f"{s3.url}/rows.parquet")
    job.change("limits.max_requests", REQUESTS)
    job.change("execution", {"engine": "dask", "address": cluster.address})
    yield job
    job.end()


@pytest.mark.soak  # ranges and merges are compared by themselves: test_prepared_ranges.py, test_merge_files.py
def test_a_cluster_makes_the_bytes_that_one_process_makes(
    job: ClusterJob, postgres_url: MakeDatabase, s3: S3Prefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.finish()
    everything_once(job, ROWS)
    answers, made = job.answers, contents(job.run_folder, *PREPARED)
    merged = contents(job.run_folder, ENRICHED)
    assert (len(made), len(merged)) == (3 * CHUNKS, CHUNKS)
    # By one process: of what the cluster's run has got, as batches have new ids every time; and from the source on.
    assert merged_again(job, monkeypatch) == merged
    with monkeypatch.context() as patched:
        patched.setenv("NIGHTMAIL_LEDGER_URL", postgres_url())
        patched.setenv("NIGHTMAIL_RUNS_URL", f"{s3.url}/alone")
        patched.setattr(ranges, "RANGE_ROWS", dask_job.RANGE_ROWS)
        job.change("execution", {"processes": 1})
        enrich_rows(RunRequest(job.write(), key="k"))
    assert job.answers == answers
    assert contents(RunFolder(f"{s3.url}/alone/letters/k"), *PREPARED) == made


@pytest.mark.soak
def test_workers_that_are_killed_in_the_middle_cost_nothing_but_time(job: ClusterJob) -> None:
    moments = ("prepare-1", "merge-2")
    for moment in moments:
        job.order(moment, "die")
    job.finish()
    assert all(job.has(f"{moment}.taken") for moment in moments)
    everything_once(job, ROWS)
    assert len(job.paid()) == CHUNKS
    assert job.run_folder.names("unfinished") == ()


def test_a_run_that_is_killed_again_and_again_takes_nothing_from_workers_that_come_too_late(
    job: ClusterJob,
) -> None:
    # While the last range is made, and the others' chunks are posted.
    job.order("prepare-2", "hold")
    killed_after(job, lambda: job.has("prepare-2.taken") and job.has_posted(2))
    # Between a file that has appeared and its record, after a worker of the one before has written its own.
    job.order("adopt-enriched.parquet", "die")
    following = started_over_late(job, "prepare-2")
    assert following.wait(240) == -signal.SIGKILL
    # While the last chunk is merged.
    job.order("merge-6", "hold")
    killed_after(job, lambda: job.has("merge-6.taken"))
    following = started_over_late(job, "merge-6")
    assert following.wait(240) == 0
    everything_once(job, ROWS)
    assert len(job.paid()) == CHUNKS


def killed_after(job: ClusterJob, reached: Callable[[], bool]) -> None:
    """A process of the run, killed there."""
    driver = job.start()
    until(reached)
    driver.kill()
    driver.wait(60)


def started_over_late(job: ClusterJob, moment: str) -> subprocess.Popen[bytes]:
    """The next process of the run; when it has the lease, what a worker does for the last one comes to its end."""
    before = job.fence
    following = job.start()
    until(lambda: job.fence > before)
    job.order("go")
    until(lambda: job.has(f"{moment}.done"))
    job.take_back("go")
    return following


def merged_again(job: ClusterJob, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The rows of every chunk of the job's run, merged once more in this process."""
    clock = SystemClock()
    resolved = resolve_request(RunRequest(job.write(), key="k"), job.home, clock)
    service = connect(resolved.job.provider, job.home, os.environ)
    with monkeypatch.context() as patched, open_run(resolved, service, job.home, clock) as run:
        patched.setattr(Run, "engine_for", lambda run: run.here)
        for chunk in run.ledger.chunks():
            run.folder.remove(enriched_name(chunk.number))
            merge_again(run, chunk)
    return contents(job.run_folder, ENRICHED)


def contents(folder: RunFolder, *files: str) -> dict[str, bytes]:
    """The files of all chunks that are called so."""
    names = [name for name in folder.names("chunks") if name.rpartition("/")[2] in files]
    return {name: folder.read(name).read() for name in names}
