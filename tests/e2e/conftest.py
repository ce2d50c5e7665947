"""A deployed Nightmail: a checkout of its own, a Prefect server, a worker, a batch service, a browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs.clock import SystemClock
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FAST = {  # what a night takes hours for happens in seconds
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_DEPLOYMENT_BATCH_SIZE": "10",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "1",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_TRIGGERS_PG_NOTIFY_HEARTBEAT_INTERVAL_SECONDS": "1",
}


class Alerts:
    """Where the webhook goes."""

    def __init__(self) -> None:
        told = self.told = []  # type: list[str]

        class Listener(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(self.rfile.read(int(self.headers["content-length"])).decode())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts?token=sk-webhook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class House:
    """Everything that runs in production, in one folder."""

    def __init__(self, folder: Path, server: Any, service: Any) -> None:
        self.folder = folder
        self.server = server
        self.service = service
        self.checkout = folder / "checkout"
        self.alerts = Alerts()
        self.environ = {
            "PYTHONPATH": str(self.checkout),
            "NIGHTMAIL_HOME": str(folder / "home"),
            "TEST_KEY": "sk-secret",
            "NIGHTMAIL_WEBHOOK_URL": self.alerts.url,
        }
        self.worker: subprocess.Popen[bytes] | None = None
        for name in ("flows", "tasks", "configs", "deployments"):
            shutil.copytree(ROOT / name, self.checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (self.checkout / "configs/jobs").glob("*.yaml"):
            if file.stem != "quickstart":
                file.unlink()

    @property
    def ledger(self) -> Ledger:
        """What the runs remember."""
        return Ledger(f"sqlite:///{self.folder / 'home/ledger.db'}", SystemClock())

    def job(self, name: str, faults: str = "", **changes: Any) -> str:
        """Write a job over `data/<date>.parquet`; its path as the form offers it."""
        tree = {
            "name": name,
            "source": {"path": "data/{date}.parquet", "key": "id"},
            "prompt": {"model": "m", "user": "Say {{ text }}"},
            "provider": {
                "name": "openai",
                "base_url": self.service.url,
                "api_key_env": "TEST_KEY",
                "metadata": {"nightmail_faults": faults} if faults else {},
            },
            "poll": {"first_seconds": 2, "max_seconds": 2},
            "output": {"path": "out/{job}/{date}"},
            **changes,
        }
        place = self.checkout / "configs/jobs" / f"{name}.yaml"
        place.write_text(yaml.safe_dump(tree))
        return f"configs/jobs/{name}.yaml"

    def rows(self, date: str, count: int = 6) -> None:
        """The source rows of a date."""
        table = {"id": [f"t-{n}" for n in range(count)], "text": [f"word {n}\u2028" for n in range(count)]}
        place = self.checkout / "configs/jobs/data" / f"{date}.parquet"
        place.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(table), place)

    def out(self, job: str, date: str) -> pa.Table:
        """What was published."""
        return pq.read_table(self.checkout / "configs/jobs/out" / job / date)

    def deploy(self) -> list[str]:
        """`nightmail deploy`; its lines."""
        return self.type("nightmail deploy").split("\n")

    def type(self, commands: str) -> str:
        """What somebody types in the checkout; what it prints."""
        environ = {**self.server.environ, **self.environ}
        environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
        said = subprocess.run(
            ["bash", "-euxc", commands], env=environ, cwd=self.checkout, capture_output=True, text=True
        )
        assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-2000:]
        return said.stdout

    def start_worker(self) -> None:
        """A worker, where the checkout is."""
        self.worker = self.server.worker(self.checkout, **self.environ)

    def kill_worker(self) -> None:
        """kill -9: the runs it started live on or are dead, as it happens."""
        assert self.worker is not None
        self.worker.send_signal(signal.SIGKILL)
        self.worker.wait()

    def kill_server(self) -> None:
        """kill -9."""
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()

    def run_of(self, job: str, key: str) -> RunRecord:
        """The ledger's run."""
        run = self.ledger.latest_run(job, key)
        assert run is not None
        return run

    def paid(self, run: RunRecord) -> dict[str, int]:
        """Batches by chunk and attempt, as the service counts them."""
        keys = self.service.stats()["batches_by_metadata"].get("nightmail_key", {})
        mine: Counter[str] = Counter()
        for key, count in keys.items():
            if key.startswith(run.id):
                mine[key.removeprefix(run.id + "/")] += count
        return dict(mine)

    def log(self) -> str:
        """The end of what the worker said."""
        return (self.checkout / "worker.log").read_text()[-4000:]


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: Any, postgres_url: Callable[[], str]) -> Any:
    """A server whose services look often; on PostgreSQL, since on SQLite they lock each other out when all are busy."""
    database = postgres_url().replace("+psycopg", "+asyncpg")
    return prefect_server_with(**FAST, PREFECT_SERVER_DATABASE_CONNECTION_URL=database)


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: Any, _shared_batch_service: Any
) -> Iterator[House]:
    """Everything but what a test deploys and starts."""
    made = House(tmp_path_factory.mktemp("house"), prefect_server, _shared_batch_service)
    yield made
    if made.worker is not None and made.worker.poll() is None:
        made.kill_worker()  # told to go, it may wait longer than a test should
    made.alerts.server.shutdown()


@pytest.fixture
def until(house: House) -> Callable[..., Any]:
    """Poll until a question has a true answer; that answer."""

    def ask(question: Callable[[], Any], what: str, seconds: float = 300) -> Any:
        deadline = time.monotonic() + seconds
        while not (answer := question()):
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}\n{house.log()}"
            time.sleep(0.2)
        return answer

    return ask


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    if CHROMIUM is None:
        if os.environ.get("NIGHTMAIL_TEST_BROWSER") == "required":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=options)
        yield started
        started.close()
