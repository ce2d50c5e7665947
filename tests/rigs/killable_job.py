"""A job whose runs are killed or frozen at a numbered side effect: see tests/faults/killable.py."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from configs.clock import SystemClock
from rigs.batch_service import KEY, BatchService
from tasks.ledger.store import Ledger
from tasks.reuse.index import open_index


class KillableJob:
    """One job in a folder of its own: seven rows in two chunks, one row of which needs a second attempt.

    `faults` are what the first batch, or every one, does wrong: see tasks/local_batch/faults.
    """

    PAID: ClassVar = {"1/1": 1, "1/2": 1, "2/1": 1}
    ATTEMPTS: ClassVar = (1, 1, 1, 1, 1, 1, 2)

    def __init__(
        self,
        folder: Path,
        service: BatchService,
        harness: subprocess.Popen[str],
        faults: str = "row_error:500:t-3*1",
    ) -> None:
        self.folder = folder
        self.service = service
        self._harness = harness
        folder.mkdir(parents=True)
        self.write_rows(7)
        # The faults strike the first batch that has these very words; the nonce makes them this case's own.
        self.tree: dict[str, Any] = {
            "name": "letters",
            "source": {"path": "rows.parquet", "key": "id"},
            "prompt": {"model": "m", "user": "Say {{ text }}"},
            "provider": {
                "name": "openai",
                "base_url": service.url,
                "api_key_env": "TEST_KEY",
                "metadata": {"nightmail_faults": f"{faults},nonce-{uuid.uuid4().hex}"},
            },
            "limits": {"max_requests": 4},
            "poll": {"first_seconds": 0.03, "max_seconds": 0.05},
            "output": {"path": "out"},
        }
        self.write_job()

    def write_rows(self, count: int) -> None:
        """The source: t-0, t-1, ..."""
        rows = {"id": [f"t-{n}" for n in range(count)], "text": [f"word {n}\u2028" for n in range(count)]}
        pq.write_table(pa.table(rows), self.folder / "rows.parquet")

    def write_job(self) -> None:
        """The job file as `tree` has it."""
        (self.folder / "job.yaml").write_text(yaml.safe_dump(self.tree))

    def run(self, how: str = "run", point: int | None = None, **more: Any) -> dict[str, Any]:
        """A run in a process of its own; {"pid", "exit", "stopped"}."""
        order = {
            "job": str(self.folder / "job.yaml"),
            "folder": str(self.folder),
            "environ": {"NIGHTMAIL_HOME": str(self.folder / "home"), "TEST_KEY": KEY},
            "how": how,
            "point": point,
            "log": str(self.folder.with_suffix(".log")),
            **more,
        }
        assert self._harness.stdin is not None
        assert self._harness.stdout is not None
        self._harness.stdin.write(json.dumps(order) + "\n")
        self._harness.stdin.flush()
        answer: dict[str, Any] = json.loads(self._harness.stdout.readline())
        return answer

    @property
    def log(self) -> str:
        """What the last run said when it failed, or its points as JSON after `count`."""
        path = self.folder.with_suffix(".log")
        return path.read_text() if path.exists() else ""

    @property
    def struck(self) -> str:
        """The side effect at which a run was killed or frozen; not always the one meant, timing moves them."""
        return self.folder.with_suffix(".struck").read_text()

    @property
    def kind(self) -> str:
        """That side effect without what is this run's alone."""
        return re.sub(r"(batch_|file-)\w+|\d+[\w.]*", "N", self.struck)

    def check(self, asked_twice: int | None = 3) -> None:
        """Everything that must hold once the run is finished, whatever happened on the way. None: any one row of them."""
        table = pq.read_table(self.folder / "out")
        assert table["id"].to_pylist() == [f"t-{n}" for n in range(7)]
        assert set(table["llm_status"].to_pylist()) == {"succeeded"}
        assert all(f"word {n}\u2028" in answer for n, answer in enumerate(table["llm_answer"].to_pylist()))
        attempts = table["llm_attempts"].to_pylist()
        assert sorted(attempts) == list(self.ATTEMPTS)
        assert asked_twice is None or attempts[asked_twice] == max(self.ATTEMPTS)
        assert self.paid() == self.PAID
        assert self.files_left() == []
        assert self.temporary_files() == []
        assert self.leaks() == []

    @property
    def ledger(self) -> Ledger:
        """The ledger of its home."""
        return Ledger(f"sqlite:///{self.folder / 'home/ledger.db'}", SystemClock())

    def _run_id(self) -> str:
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        return run.id

    def paid(self) -> dict[str, int]:
        """Batches by submission key, as counted by the service."""
        run_id = self._run_id()
        keys = self.service.stats()["batches_by_metadata"]["nightmail_key"]
        mine = {
            key.removeprefix(run_id + "/"): count for key, count in keys.items() if key.startswith(run_id)
        }
        return dict(sorted(mine.items()))

    def files_left(self) -> list[str]:
        """Files at the service that belong to this run: by name, or as the result of one of its batches."""
        client = self.service.client()
        run_id = self._run_id()
        batches = [
            b for b in client.batches.list(limit=100) if run_id in (b.metadata or {}).get("nightmail_key", "")
        ]
        results = {name for b in batches for name in (b.output_file_id, b.error_file_id)}
        return [f.filename for f in client.files.list() if run_id in f.filename or f.id in results]

    def temporary_files(self) -> list[str]:
        """What was left half-written."""
        return [
            p.name for p in self.folder.rglob("*") if p.suffix in (".part", ".new", ".old", ".publishing")
        ]

    def leaks(self) -> list[str]:
        """Files that hold the key."""
        return [p.name for p in self.folder.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


class ReusingJob(KillableJob):
    """The same rows, three of which an earlier run has answered; the first of the others needs a second attempt."""

    PAID: ClassVar = {"1/1": 1, "1/2": 1}

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        metadata = self.tree["provider"].pop("metadata")
        self.tree["reuse"] = True
        self.write_job()
        self.write_rows(3)
        assert self.run(given={"key": "before"})["exit"] == 0, self.log
        self.tree["provider"]["metadata"] = metadata
        self.write_job()
        self.write_rows(7)

    def check(self, asked_twice: int | None = 3) -> None:
        """The same, and that whoever comes next finds all seven answers."""
        table = pq.read_table(self.folder / "out")
        assert table["id"].to_pylist() == [f"t-{n}" for n in range(7)]
        assert table["llm_status"].to_pylist() == ["reused"] * 3 + ["succeeded"] * 4
        assert table["llm_reused_from"].to_pylist() == ["letters/before"] * 3 + [None] * 4
        assert all(f"word {n}\u2028" in answer for n, answer in enumerate(table["llm_answer"].to_pylist()))
        assert table["llm_attempts"].to_pylist() == [2 if n == asked_twice else int(n > 2) for n in range(7)]
        assert self.paid() == self.PAID
        assert self.files_left() == []
        assert self.temporary_files() == []
        index = self.ledger.reuse_index("letters")
        assert index is not None
        with (self.folder / "home/runs" / index.path).open("rb") as file:
            assert len(open_index(file).entries) == 7
