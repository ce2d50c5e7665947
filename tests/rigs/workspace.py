"""A folder in which a job is run: its source, its job file, its home and what it publishes."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs.clock import SystemClock
from configs.home import Home
from rigs.batch_service import BatchService
from tasks.ledger.listing import BatchSearch
from tasks.ledger.records import BatchRecord
from tasks.ledger.store import Ledger


class Workspace:
    """One working folder: a source, a job file, a home."""

    def __init__(self, folder: Path, service: BatchService) -> None:
        self.folder = folder
        self.service = service
        self.home = Home.from_environment({"NIGHTMAIL_HOME": str(folder / "home")})
        self.job_file = folder / "job.yaml"
        self.tree: dict[str, Any] = {
            "name": "letters",
            "source": {"path": "rows.parquet", "key": "id"},
            "prompt": {"model": "m", "user": "Say {{ text }}"},
            "provider": {"name": "openai", "base_url": service.url, "api_key_env": "TEST_KEY"},
            "poll": {"first_seconds": 0.05, "max_seconds": 0.1},
            # Chunks in their order, which tests go by. Several at once: test_advance_in_threads.py, the faults, tests that say so.
            "execution": {"transfers": 1},
            "output": {"path": "out/letters"},
        }

    def source(self, rows: int = 10, **columns: Any) -> None:
        """`id` t-0, t-1, ... and `text`, and further columns."""
        table = {"id": [f"t-{n}" for n in range(rows)], "text": [f"word {n}" for n in range(rows)]} | columns
        pq.write_table(pa.table(table), self.folder / "rows.parquet")

    def change(self, dotted: str, value: Any) -> None:
        """Set a key of the job file."""
        *parents, leaf = dotted.split(".")
        node = self.tree
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = value

    def faults(self, words: str) -> None:
        """Let the job's batches misbehave: see tasks/local_batch/faults.py."""
        # The service counts "the first N batches with these very words": the nonce makes them this test's own.
        self.change("provider.metadata", {"nightmail_faults": f"{words},nonce-{uuid.uuid4().hex}"})

    def write(self) -> str:
        """The job file as it stands."""
        self.job_file.write_text(yaml.safe_dump(self.tree, allow_unicode=True))
        return str(self.job_file)

    def run(self, **options: Any) -> dict[str, Any]:
        """Run the flow without a Prefect server; the receipt as JSON."""
        from flows.enrich import enrich  # Prefect takes seconds to import, and few tests need it

        receipt: Any = enrich.fn(self.write(), **{"key": "k", **options})
        return cast("dict[str, Any]", receipt.as_json())

    @property
    def out(self) -> pa.Table:
        """The published rows."""
        return pq.read_table(self.folder / self.tree["output"]["path"])

    def column(self, name: str) -> list[Any]:
        """A column of the output."""
        values: list[Any] = self.out[name].to_pylist()
        return values

    def statuses(self) -> dict[str, int]:
        """Rows by status."""
        return dict(Counter(self.column("llm_status")))

    @property
    def ledger(self) -> Ledger:
        """This home's ledger."""
        return Ledger(self.home.ledger_url, SystemClock())

    @property
    def run_id(self) -> str:
        """The ledger's id of the latest run."""
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        return run.id

    def batches(self) -> Sequence[BatchRecord]:
        """Every posting of the latest run."""
        return self.ledger.batches(self.run_id)

    def all_batches(self) -> Sequence[BatchRecord]:
        """The postings of all runs, newest first."""
        return [line.batch for line in self.ledger.listing.batches(BatchSearch(), 1_000)]

    def batches_of(self, key: str) -> Sequence[BatchRecord]:
        """Every posting of the run with that key."""
        run = self.ledger.latest_run("letters", key)
        assert run is not None
        return self.ledger.batches(run.id)

    def paid(self) -> dict[str, int]:
        """Batches that the service created, by (chunk, attempt and posting) of the latest run."""
        run_id = self.run_id
        keys = (
            (batch.metadata or {}).get("nightmail_key", "")
            for batch in self.service.client().batches.list(limit=100)
        )
        paid = Counter(key.removeprefix(run_id + "/") for key in keys if key.startswith(run_id))
        return dict(sorted(paid.items()))

    def files_left(self) -> list[str]:
        """Our files that are still at the service."""
        run_id = self.run_id
        client = self.service.client()
        batches = {batch.id for batch in client.batches.list(limit=100) if run_id in str(batch.metadata)}
        return [
            file.filename
            for file in client.files.list()
            if run_id in file.filename or file.filename in batches
        ]


def everything_once(workspace: Workspace, rows: int = 10) -> None:
    """Every row came out once, in order, and no batch was paid twice."""
    assert workspace.column("id") == [f"t-{n}" for n in range(rows)]
    assert all(count == 1 for count in workspace.paid().values()), workspace.paid()


def comes_through_broken_calls(workspace: Workspace, op: str, action: str) -> None:
    """Calls of that kind fail twice: they cost time and nothing else."""
    workspace.source(40)
    workspace.service.fault(op, action, times=2, html="502" in action)
    receipt = workspace.run()
    workspace.service.forgive()
    everything_once(workspace, 40)
    assert workspace.statuses() == {"succeeded": 40}
    assert receipt["batches"]["posted"] == 1


def comes_through(
    workspace: Workspace, faults: str, statuses: dict[str, int], paid: dict[str, int] | None
) -> None:
    """Ten rows over a misbehaving batch come to those statuses for that many batches; None: it is not certain how many."""
    workspace.faults(faults)
    receipt = workspace.run()
    assert workspace.statuses() == statuses
    everything_once(workspace)
    assert paid is None or workspace.paid() == paid
    assert sum(count for status, count in receipt["rows"].items() if status != "total") == 10


@pytest.fixture
def workspace(
    tmp_path: Path, shared_batch_service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """A fresh working folder with ten rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTMAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TEST_KEY", "sk-secret")
    for name in ("NIGHTMAIL_LEDGER_URL", "NIGHTMAIL_RUNS_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    workspace = Workspace(tmp_path, shared_batch_service)
    workspace.source()
    return workspace
