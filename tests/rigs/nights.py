"""An installation under a clock that the test moves: nights pass in seconds, by schedules and sleeps that are the real ones."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from rigs.batch_service import BatchService
from rigs.installation import Installation
from rigs.moved_clock import MovedClock
from rigs.prefect_server import PrefectServer
from rigs.signed import SECRET, event, signed

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

INPUT_USD, OUTPUT_USD = 3.0, 7.0  # a million tokens
ROWS = 6
NEW_ROWS = 4  # of a night: the others ask what the night before asked
NAP_SECONDS = 3600
_BUSY = ("Pending", "Submitting", "Running", "Late", "AwaitingConcurrencySlot", "AwaitingRetry")


class Nights:
    """Nights of jobs that lie in a folder outside of the checkout."""

    def __init__(
        self, folder: Path, server: PrefectServer, client: SyncPrefectClient, clock: MovedClock
    ) -> None:
        self.folder, self.client, self.clock = folder, client, clock
        self.service = BatchService(folder / "service", environ=clock.environ)
        self.jobs = folder / "jobs"
        (self.jobs / "data").mkdir(parents=True)
        self.installation = Installation(
            folder,
            server,
            self.service,
            NIGHTMAIL_JOBS_URL=str(self.jobs),
            OPENAI_WEBHOOK_SECRET=SECRET,
            **clock.environ,
        )
        self._set_up()

    def upgrade(self) -> list[str]:
        """Deploy from another checkout, and move the one before out of the way; the lines of `nightmail deploy`."""
        before = self.installation.checkout
        self.installation.check_out("checkout-of-the-next-version")
        self._set_up()
        before.rename(self.folder / "checkout-of-the-last-version")
        return self.installation.deploy()

    def _set_up(self) -> None:
        """As its operator would: own prices, and a sweep that comes a few times a night only."""
        checkout = self.installation.checkout
        price = {"model": "m", "input": INPUT_USD, "output": OUTPUT_USD}
        (checkout / "configs/prices.yaml").write_text(yaml.safe_dump({"prices": [price]}))
        file = checkout / "deployments/prefect.yaml"
        tree = yaml.safe_load(file.read_text())
        for entry in tree["deployments"]:
            for schedule in entry.get("schedules") or []:
                schedule |= {"cron": "0 */8 * * *"} if entry["name"] == "sweep" else {"active": False}
        file.write_text(yaml.safe_dump(tree))

    def write_job(self, name: str) -> None:
        """A job file with a schedule, and nothing else that names it."""
        tree = {
            "name": name,
            "description": f"What people wrote: {name}.",
            "schedule": {"cron": "30 22 * * *"},
            "source": {"path": "data/{date}.parquet", "key": "id"},
            "prompt": {"model": "m", "user": f"Sort these {name}: {{{{ text }}}}"},
            "provider": {"name": "openai", "base_url": self.service.url, "api_key_env": "TEST_KEY"},
            "reuse": True,
            "poll": {"first_seconds": NAP_SECONDS, "max_seconds": NAP_SECONDS},
            "output": {"path": "out/{job}/{date}"},
        }
        (self.jobs / f"{name}.yaml").write_text(yaml.safe_dump(tree))

    def begin_night(self) -> date:
        """Write the source of the day and let its evening come; the date of its rows."""
        today = self.clock.now().date()
        if self.clock.now().hour >= 22:
            today += timedelta(days=1)
        rows_of = today - timedelta(days=1)
        texts = [f"old {n}" for n in range(ROWS - NEW_ROWS)] + [f"{rows_of} {n}" for n in range(NEW_ROWS)]
        table = pa.table({"id": [f"t-{n}" for n in range(ROWS)], "text": texts})
        pq.write_table(table, self.jobs / "data" / f"{rows_of}.parquet")
        self.clock.move_to(datetime(today.year, today.month, today.day, 22, 29, 58, tzinfo=UTC))
        return rows_of

    def start_worker(self) -> None:
        """A worker, once the server has heard of it."""
        before = self._heard_of()
        self.installation.start_worker()
        self._until(lambda: self._heard_of() > before, "the worker")

    def _heard_of(self) -> int:
        answer = self.client.request(
            "POST",
            "/work_pools/{work_pool_name}/workers/filter",
            path_params={"work_pool_name": "nightmail"},
            json={},
        )
        return len(answer.json())

    def runs(self) -> list[FlowRun]:
        """The newest flow runs, by the time at which they were to start."""
        from prefect.client.schemas.sorting import FlowRunSort

        return self.client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=60)

    def busy(self) -> list[FlowRun]:
        """What is at work or about to be."""
        now = self.clock.now() + timedelta(seconds=5)
        return [
            run
            for run in self.runs()
            if _name(run) in _BUSY or (_name(run) in ("Scheduled", "Sleeping") and _due(run) <= now)
        ]

    def of_night(self, rows_of: date) -> dict[str, FlowRun]:
        """The runs of a night by their job."""
        ending = f" {rows_of}"
        return {run.name.removesuffix(ending): run for run in self.runs() if run.name.endswith(ending)}

    def until_over(self, rows_of: date, jobs: set[str]) -> None:
        """Let time pass, from sleep to sleep, until all runs of the night are completed."""

        def over() -> bool:
            if self._all(rows_of, jobs, "Completed"):
                return True
            if not self.busy():
                self._until_next_look(rows_of)
            return False

        self._until(over, f"the end of {sorted(jobs)}", lambda: self._told(rows_of))

    def until_asleep(self, rows_of: date, jobs: set[str]) -> None:
        """Until every run of the night has posted and sleeps, and nothing is at work."""
        self._until(
            lambda: self._all(rows_of, jobs, "Sleeping") and not self.busy(),
            f"the sleep of {sorted(jobs)}",
            lambda: self._told(rows_of),
        )

    def until_looked_again(self, rows_of: date, jobs: set[str]) -> None:
        """Let time pass until every run of the night has looked in vain, and sleeps on."""
        looks = {job: run.run_count for job, run in self.of_night(rows_of).items()}

        def looked() -> bool:
            if not self._all(rows_of, jobs, "Sleeping") or self.busy():
                return False
            if all(run.run_count > looks[job] for job, run in self.of_night(rows_of).items()):
                return True
            self._until_next_look(rows_of)
            return False

        self._until(looked, f"another look of {sorted(jobs)}", lambda: self._told(rows_of))

    def until_over_by_itself(self, rows_of: date, jobs: set[str]) -> None:
        """Until all runs of the night are completed, without a minute of theirs passing by any other way than by itself."""
        self._until(
            lambda: self._all(rows_of, jobs, "Completed"),
            f"the end of {sorted(jobs)}",
            lambda: self._told(rows_of),
        )

    def _until_next_look(self, rows_of: date) -> None:
        wakes = [_due(run) for run in self.of_night(rows_of).values() if _name(run) == "Sleeping"]
        if wakes:
            self.clock.move_to(min(wakes))

    def _all(self, rows_of: date, jobs: set[str], state: str) -> bool:
        states = {job: _name(run) for job, run in self.of_night(rows_of).items()}
        assert "Failed" not in states.values(), self._told(rows_of)
        return states == dict.fromkeys(jobs, state)

    def deliver(self, url: str, batch_id: str) -> int:
        """The provider's message that a batch has ended, sent to an address of `nightmail webhooks`; the reply's status."""
        body = event(batch_id)
        headers = signed(body, event_id=f"evt_{batch_id}", age=-self.clock.ahead)
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return int(reply.status)

    def _told(self, rows_of: date) -> str:
        runs = self.of_night(rows_of)
        return "\n".join(
            f"{job}: {_name(run)}: {run.state and run.state.message}" for job, run in runs.items()
        )

    def _until(self, reached: Callable[[], bool], what: str, told: Callable[[], str] = str) -> None:
        deadline = time.monotonic() + 600
        while not reached():
            assert time.monotonic() < deadline, f"waited for {what}: {told()}\n{self.installation.log()}"
            time.sleep(1.0)  # looking costs the server a good deal

    def out(self, job: str, rows_of: date) -> pa.Table:
        return pq.read_table(self.jobs / "out" / job / str(rows_of))

    def batches(self) -> list[Any]:
        """Every batch that the service has ever made."""
        return list(self.service.client().batches.list(limit=100))

    def batches_of(self, rows_of: date) -> list[Any]:
        """Those whose runs are of that night."""
        return [batch for batch in self.batches() if (batch.metadata or {})["run"] == str(rows_of)]

    def paid(self) -> Counter[str]:
        """Batches by our key."""
        return Counter((batch.metadata or {})["nightmail_key"] for batch in self.batches())

    @contextmanager
    def serving(self, *words: str) -> Iterator[str]:
        """A command that serves until it is told to go: the first address that it prints."""
        environ = {**self.installation.server.environ, **self.installation.environ}
        command = [sys.executable, "-m", "flows.cli.main", *words, "--port", "0"]
        process = subprocess.Popen(
            command, env=environ, cwd=self.installation.checkout, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()

    def close(self) -> None:
        if self.installation.worker is not None and self.installation.worker.poll() is None:
            self.installation.kill_worker()
        if self.service.process.poll() is None:
            self.service.kill()
        self.installation.alerts.server.shutdown()


def _name(run: FlowRun) -> str:
    return (run.state and run.state.name) or ""


def _due(run: FlowRun) -> datetime:
    assert run.state is not None
    return run.state.state_details.scheduled_time or datetime.max.replace(tzinfo=UTC)
