"""A job of its own for every test, run through the flow's function against the embedded service over a socket."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs.clock import SystemClock
from configs.home import Home
from flows.enrich import enrich
from tasks.ledger.store import Ledger


class Works:
    """One working folder: a source, a job file, a home."""

    def __init__(self, folder: Path, service: Any) -> None:
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
            "output": {"path": "out/letters"},
        }

    def source(self, rows: int = 10, **columns: Any) -> None:
        """`id` t-0, t-1, ... and `text`, and further columns."""
        table = {"id": [f"t-{n}" for n in range(rows)], "text": [f"word {n}" for n in range(rows)], **columns}
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
        """Run the flow without a Prefect server; the receipt."""
        return enrich.fn(self.write(), **{"key": "k", **options})

    @property
    def out(self) -> pa.Table:
        """The published rows."""
        return pq.read_table(self.folder / self.tree["output"]["path"])

    def column(self, name: str) -> list[Any]:
        """A column of the output."""
        return self.out[name].to_pylist()

    def statuses(self) -> dict[str, int]:
        """Rows by status."""
        return dict(Counter(self.column("llm_status")))

    @property
    def ledger(self) -> Ledger:
        """This home's ledger."""
        return Ledger(self.home.ledger_url, SystemClock())

    def batches(self) -> Sequence[Any]:
        """Every posting of the latest run."""
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        return self.ledger.batches(run.id)

    def paid(self) -> dict[str, int]:
        """Batches that the service created, by (chunk, attempt and posting) of the latest run."""
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        mine = Counter(
            batch.metadata["nightmail_key"].removeprefix(run.id + "/")
            for batch in self.service.client().batches.list(limit=100)
            if (batch.metadata or {}).get("nightmail_key", "").startswith(run.id)
        )
        return dict(sorted(mine.items()))

    def files_left(self) -> list[str]:
        """Our files that are still at the service."""
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        client = self.service.client()
        ours = {batch.id for batch in client.batches.list(limit=100) if run.id in str(batch.metadata)}
        return [
            file.filename for file in client.files.list() if run.id in file.filename or ours & {file.filename}
        ]


@pytest.fixture
def works(tmp_path: Path, shared_batch_service: Any, monkeypatch: pytest.MonkeyPatch) -> Works:
    """A fresh working folder with ten rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTMAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TEST_KEY", "sk-secret")
    for name in ("NIGHTMAIL_LEDGER_URL", "NIGHTMAIL_RUNS_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    made = Works(tmp_path, shared_batch_service)
    made.source()
    return made


@pytest.fixture
def fast_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second, not seconds, after a transient error."""
    import datetime

    from tasks import advance

    monkeypatch.setattr(advance, "fault_delay", lambda *_: datetime.timedelta(seconds=0.02))
