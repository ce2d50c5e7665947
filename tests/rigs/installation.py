"""A whole installation in one folder: a checkout of its own, a Prefect server, a worker, a batch service, a webhook."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from configs.clock import SystemClock
from rigs.batch_service import BatchService
from rigs.checkout import ROOT
from rigs.prefect_server import PrefectServer
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger

T = TypeVar("T")


class Until(Protocol):
    """Polls until a question has a true answer; returns that answer."""

    def __call__(self, question: Callable[[], T], what: str, seconds: float = 300) -> T: ...


class Alerts:
    """Where the webhook goes."""

    def __init__(self) -> None:
        told: list[str] = []
        self.told = told

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


class Installation:
    """Everything that runs in production, in one folder."""

    def __init__(self, folder: Path, server: PrefectServer, service: BatchService, **environ: str) -> None:
        self.folder = folder
        self.server = server
        self.service = service
        self.alerts = Alerts()
        self.environ = {
            "NIGHTMAIL_HOME": str(folder / "home"),
            "TEST_KEY": "sk-secret",
            "NIGHTMAIL_WEBHOOK_URL": self.alerts.url,
            **environ,
        }
        self.worker: subprocess.Popen[bytes] | None = None
        self.check_out("checkout")

    def check_out(self, name: str) -> None:
        """A checkout of this code, in which everything is typed and started from now on."""
        self.checkout = self.folder / name
        self.environ["PYTHONPATH"] = str(self.checkout)
        for part in ("flows", "tasks", "configs", "deployments"):
            shutil.copytree(ROOT / part, self.checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
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
        (self.checkout / "configs/jobs" / f"{name}.yaml").write_text(yaml.safe_dump(tree))
        return f"configs/jobs/{name}.yaml"

    def rows(self, date: str, count: int = 6) -> None:
        """The source rows of a date."""
        table = {"id": [f"t-{n}" for n in range(count)], "text": [f"word {n}\u2028" for n in range(count)]}
        path = self.checkout / "configs/jobs/data" / f"{date}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(table), path)

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
        ended = subprocess.run(
            ["bash", "-euxc", commands], env=environ, cwd=self.checkout, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        return ended.stdout

    def start_worker(self) -> None:
        """A worker, where the checkout is."""
        self.worker = self.server.worker(self.checkout, **self.environ)

    def kill_worker(self) -> None:
        """kill -9: the runs it started live on or are dead, as it happens."""
        self.stop_worker(signal.SIGKILL)

    def stop_worker(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to go, as its service manager would, and see it go."""
        assert self.worker is not None
        self.worker.send_signal(how)
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
        return {
            key.removeprefix(run.id + "/"): count for key, count in keys.items() if key.startswith(run.id)
        }

    def log(self) -> str:
        """The end of what the worker said."""
        return (self.checkout / "worker.log").read_text()[-4000:]
