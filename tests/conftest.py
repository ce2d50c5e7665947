"""Fixtures for every room's tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TERMINAL = ("completed", "failed", "expired", "cancelled")


class BatchService:
    """A batch service of its own in a folder: a real process on a real port."""

    def __init__(self, folder: Path, *options: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.options = options
        self.environ = environ or {}
        self.url = ""
        self._clients: dict[tuple[str, str], Any] = {}
        self.start()

    def start(self) -> None:
        """Start (again), on the same folder."""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tasks.local_batch",
                "--folder",
                str(self.folder),
                "--allow-faults",
                *self.options,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline().split()
        assert said[:1] == ["READY"], f"the batch service did not start: {said}"
        self.url = said[1]

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Stop it as an operator would."""
        self.process.send_signal(with_signal)
        self.process.wait(10)
        self._clients.clear()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A plain HTTP call to a path beside /v1."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url.removesuffix("/v1") + path, data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as reply:
            return json.loads(reply.read())

    def fault(self, op: str, action: str, **more: Any) -> None:
        """Arm a fault of an HTTP operation: see tasks/local_batch/fault_gate.py."""
        self.call("POST", "/_faults", {"op": op, "action": action, **more})

    def forgive(self) -> None:
        """Disarm all of them."""
        self.call("DELETE", "/_faults")

    def stats(self) -> dict[str, Any]:
        """What was paid for: see `stats` in tasks/local_batch/app.py."""
        found: dict[str, Any] = self.call("GET", "/_stats")
        return found

    def client(self, **options: Any) -> Any:
        """The genuine SDK."""
        from openai import OpenAI

        key = (self.url, repr(options))
        if key not in self._clients:  # building one takes longer than most calls
            defaults = {"api_key": "none-needed", "base_url": self.url, "max_retries": 0, "timeout": 20}
            self._clients[key] = OpenAI(**{**defaults, **options})
        return self._clients[key]

    @staticmethod
    def chat(custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
        """A request line for chat completions."""
        asked = {"model": "m", "messages": [{"role": "user", "content": text}], **body}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": asked}

    def submit(self, lines: Sequence[dict[str, Any]] | bytes, faults: str | None = None, **order: Any) -> Any:
        """Upload and create through the SDK; `faults` go into the metadata."""
        client = self.client()
        data = (
            lines if isinstance(lines, bytes) else b"".join(json.dumps(one).encode() + b"\n" for one in lines)
        )
        file = client.files.create(file=("input.jsonl", data), purpose="batch")
        metadata = {**order.pop("metadata", {}), **({"nightmail_faults": faults} if faults else {})}
        return client.batches.create(
            **{
                "input_file_id": file.id,
                "endpoint": "/v1/chat/completions" if isinstance(lines, bytes) else lines[0]["url"],
                "completion_window": "24h",
                "metadata": metadata,
                **order,
            }
        )

    def wait(self, batch_id: str, until: Callable[[Any], bool] = lambda b: b.status in TERMINAL) -> Any:
        """Poll until the batch is at its end, or as wanted."""
        client = self.client()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            batch = client.batches.retrieve(batch_id)
            if until(batch):
                return batch
            time.sleep(0.01)
        raise AssertionError(f"batch {batch_id} is still {batch.status}")

    def run(self, lines: Sequence[dict[str, Any]] | bytes, faults: str | None = None, **order: Any) -> Any:
        """Submit and wait for the end."""
        return self.wait(self.submit(lines, faults, **order).id)

    def content(self, file_id: str | None) -> bytes:
        """The bytes of a file; none without an id."""
        return self.client().files.content(file_id).content if file_id else b""

    def results(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a result file."""
        return [json.loads(line) for line in self.content(file_id).split(b"\n") if line]


@pytest.fixture
def batch_service(tmp_path: Path) -> Iterator[Callable[..., BatchService]]:
    """Factory: options of `python -m tasks.local_batch` as keywords, e.g. `batch_service(rows_per_second=50)`."""
    started: list[BatchService] = []

    def start(
        folder: Path | None = None, environ: dict[str, str] | None = None, **options: Any
    ) -> BatchService:
        flags = [
            part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        started.append(BatchService(folder or tmp_path / f"service-{len(started)}", *flags, environ=environ))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture(scope="session")
def _shared_batch_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchService]:
    service = BatchService(tmp_path_factory.mktemp("shared-service"))
    yield service
    service.kill()


@pytest.fixture
def shared_batch_service(_shared_batch_service: BatchService) -> BatchService:
    """One echoing service for all tests that need not restart it; no fault is armed."""
    _shared_batch_service.forgive()
    return _shared_batch_service
