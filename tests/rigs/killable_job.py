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
from rigs.real_time import RealTime
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
        faults: str = "row_error:500:t-3*1/1",
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


def points_of(case: KillableJob, **order: Any) -> list[tuple[int, str]]:
    """The side effects of an undisturbed run, numbered."""
    assert case.run("count", **order)["exit"] == 0, case.log
    seen: list[str] = json.loads(case.log)
    case.check()
    return list(enumerate(seen))


def kill_and_go_on(
    case: KillableJob, point: int, what: str, *, lose_ledger: bool = False, **order: Any
) -> list[str]:
    """Kill a run there, and let the same command finish it; at what kind of side effect, if it came so far."""
    killed = case.run("kill", point, **order)["exit"] is None
    if lose_ledger:
        for path in (case.folder / "home").glob("ledger.db*"):
            path.unlink()
    assert case.run(**order)["exit"] == 0, f"point {point}, {what}: {case.log}"
    try:
        case.check()
    except AssertionError as error:
        lost = ", ledger lost" if lose_ledger else ""
        raise AssertionError(f"killed at point {point}, {what}{lost}: {error}") from error
    return [case.kind] if killed else []


class PipelinedJob(KillableJob):
    """The same rows in ranges of two, each a chunk, that are prepared while those before them are posted; no row fails, for
    after a kill any chunk may be posted first."""

    RANGES: ClassVar = 4
    PAID: ClassVar = {"1/1": 1, "2/1": 1, "3/1": 1, "4/1": 1}
    ATTEMPTS: ClassVar = (1,) * 7

    def __init__(
        self, folder: Path, service: BatchService, harness: subprocess.Popen[str], processes: int = 1
    ) -> None:
        super().__init__(folder, service, harness)
        del self.tree["provider"]["metadata"]
        self.tree["limits"] = {"max_requests": 2}
        self.tree["execution"] = {"processes": processes}
        self.write_job()

    def run(self, how: str = "run", point: int | None = None, **more: Any) -> dict[str, Any]:
        """The same; in a run that is to be killed or counted, the last range is recorded after a batch is posted."""
        return super().run(how, point, range_rows=2, last_range_waits=how != "run", **more)

    def check(self, asked_twice: int | None = None) -> None:
        """The same, and that nothing is left of what other processes have prepared."""
        super().check(asked_twice)
        assert [path for path in self.folder.rglob("unfinished/**/*") if path.is_file()] == []


class ReadyRequestsJob(KillableJob):
    """A file of ready requests of two models, one of which needs a second attempt; their rows and result lines come back."""

    PAID: ClassVar = {"1/1": 1, "2/1": 1, "2/2": 1}

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        body = {"messages": [{"role": "user", "content": "Say something"}]}
        line = {"method": "POST", "url": "/v1/chat/completions"}
        lines = [{"custom_id": f"t-{n}", **line, "body": {"model": "mn"[n % 2], **body}} for n in range(7)]
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
        del self.tree["prompt"]
        self.tree["source"] = {"path": "rows.jsonl", "format": "requests"}
        self.tree["output"] = {"path": "out", "result_lines": True}
        self.write_job()

    def check(self, asked_twice: int | None = 3) -> None:
        """Each request once, in the order of the file, with the last line that its provider wrote for it."""
        table = pq.read_table(self.folder / "out")
        assert table["custom_id"].to_pylist() == [f"t-{n}" for n in range(7)]
        assert table["line"].to_pylist() == list(range(1, 8))
        assert table["model"].to_pylist() == table["llm_model"].to_pylist() == list("mnmnmnm")
        assert set(table["llm_status"].to_pylist()) == {"succeeded"}
        assert table["llm_attempts"].to_pylist() == [2 if n == asked_twice else 1 for n in range(7)]
        (lines,), (errors,) = (list((self.folder / "out").glob(f"_{kind}-*")) for kind in ("output", "error"))
        answered = [json.loads(line) for line in lines.read_bytes().split(b"\n")[:-1]]
        assert sorted(line["custom_id"] for line in answered) == [f"t-{n}" for n in range(7)]
        assert all(line["response"]["status_code"] == 200 for line in answered)
        assert errors.read_bytes() == b""
        assert self.paid() == self.PAID
        assert self.files_left() == []
        assert self.temporary_files() == []
        assert self.leaks() == []


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


class HurriedJob(KillableJob):
    """The same rows after a deadline whose caps carry two of them: the first chunk's batch answers two of its four rows and
    holds, the rest is asked by real-time calls."""

    PAID: ClassVar = {"1/1": 1, "2/1": 1}
    MOST_ROWS: ClassVar = 2

    def __init__(
        self, folder: Path, service: BatchService, harness: subprocess.Popen[str], provider: RealTime
    ) -> None:
        super().__init__(folder, service, harness, "hold_after:0.5*1/1")
        self.provider = provider
        self.nonce = uuid.uuid4().hex
        self.tree["provider"]["base_url"] = provider.url
        self.tree["prompt"]["user"] = f"Say {{{{ text }}}} {self.nonce}"
        self.tree["deadline"] = {"after": "1s", "max_rows": self.MOST_ROWS}
        self.tree["poll"] = {"first_seconds": 0.2, "max_seconds": 0.2}
        self.write_job()

    def run(self, how: str = "run", point: int | None = None, **more: Any) -> dict[str, Any]:
        """The same, with the time to post before the deadline."""
        return super().run(how, point, deadline_seconds=1.0, **more)

    def check(self, asked_twice: int | None = None) -> None:
        """The same; and what real-time calls were made: each once, no more than the caps carry, for the rows that are marked."""
        table = pq.read_table(self.folder / "out")
        assert table["id"].to_pylist() == [f"t-{n}" for n in range(7)]
        assert set(table["llm_status"].to_pylist()) == {"succeeded"}
        asked = {text: count for text, count in self.provider.asked.items() if self.nonce in text}
        assert set(asked.values()) <= {1}, asked
        lanes = table["llm_lane"].to_pylist()
        assert lanes.count("standard") == len(asked) == self.MOST_ROWS
        for lane, answer in zip(lanes, table["llm_answer"].to_pylist(), strict=True):
            assert answer.startswith("At once: ") == (lane == "standard")
        assert all(count == 1 for count in self.paid().values()), self.paid()
        assert self.files_left() == []
        assert self.temporary_files() == []
        assert self.leaks() == []
