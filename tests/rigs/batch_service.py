"""The embedded batch service as a process of its own, driven through the genuine SDK."""

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
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from rigs.checkout import ROOT

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

KEY = "sk-secret"  # the token of every service
TERMINAL = ("completed", "failed", "expired", "cancelled")


class BatchService:
    """A batch service of its own in a folder: a real process on a real port."""

    def __init__(self, folder: Path, *options: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.options = options
        self.environ = environ or {}
        self.url = ""
        self._clients: dict[tuple[str, str], OpenAI] = {}
        self.start()

    def start(self) -> None:
        """Start (again), on the same folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "token").write_text(KEY)  # a service makes one where there is none
        command = [sys.executable, "-m", "tasks.local_batch", "--folder", str(self.folder), "--allow-faults"]
        self.process = subprocess.Popen(
            [*command, *self.options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline().split()
        assert greeting[:1] == ["READY"], f"the batch service did not start: {greeting}"
        self.url = greeting[1]

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Stop it as an operator would."""
        self.process.send_signal(with_signal)
        self.process.wait(60)
        self._clients.clear()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A plain HTTP call to a path beside /v1; the JSON of the reply."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url.removesuffix("/v1") + path,
            data,
            method=method,
            headers={"authorization": f"Bearer {KEY}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as reply:
            return json.loads(reply.read())

    def fault(self, op: str, action: str, **more: object) -> None:
        """Arm a fault of an HTTP operation: see tasks/local_batch/faults/http_faults.py."""
        self.call("POST", "/_faults", {"op": op, "action": action, **more})

    def forgive(self) -> None:
        """Disarm all of them."""
        self.call("DELETE", "/_faults")

    def stats(self) -> dict[str, Any]:
        """What was paid for: see `stats` in tasks/local_batch/api/fault_routes.py."""
        stats: dict[str, Any] = self.call("GET", "/_stats")
        return stats

    def client(self, **options: Any) -> OpenAI:
        """The genuine SDK."""
        from openai import OpenAI

        key = (self.url, repr(options))
        if key not in self._clients:  # building one takes longer than most calls
            defaults = {"api_key": KEY, "base_url": self.url, "max_retries": 0, "timeout": 60}
            self._clients[key] = OpenAI(**{**defaults, **options})
        return self._clients[key]

    @staticmethod
    def chat(custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
        """A request line for chat completions."""
        question = {"model": "m", "messages": [{"role": "user", "content": text}], **body}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": question}

    def submit(
        self, lines: Sequence[dict[str, Any]] | bytes, faults: str | None = None, **order: Any
    ) -> Batch:
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

    def wait(self, batch_id: str, until: Callable[[Batch], bool] = lambda b: b.status in TERMINAL) -> Batch:
        """Poll until the batch is at its end, or as wanted."""
        client = self.client()
        deadline = time.monotonic() + 120
        while not until(batch := client.batches.retrieve(batch_id)):
            assert time.monotonic() < deadline, f"batch {batch_id} is still {batch.status}"
            time.sleep(0.01)
        return batch

    def run(self, lines: Sequence[dict[str, Any]] | bytes, faults: str | None = None, **order: Any) -> Batch:
        """Submit and wait for the end."""
        return self.wait(self.submit(lines, faults, **order).id)

    def content(self, file_id: str | None) -> bytes:
        """The bytes of a file; none without an id."""
        return self.client().files.content(file_id).content if file_id else b""

    def results(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a result file."""
        return [json.loads(line) for line in self.content(file_id).split(b"\n") if line]


class StartBatchService(Protocol):
    """Starts a service; the options of `python -m tasks.local_batch` are keywords, e.g. `rows_per_second=50`, and True for
    one without a value."""

    def __call__(
        self, folder: Path | None = None, environ: dict[str, str] | None = None, **options: object
    ) -> BatchService: ...


@pytest.fixture
def batch_service(tmp_path: Path) -> Iterator[StartBatchService]:
    """Factory of services of the test's own."""
    started: list[BatchService] = []

    def start(
        folder: Path | None = None, environ: dict[str, str] | None = None, **options: object
    ) -> BatchService:
        flags = [
            part
            for name, value in options.items()
            for part in (f"--{name.replace('_', '-')}", *(() if value is True else (str(value),)))
        ]
        started.append(BatchService(folder or tmp_path / f"service-{len(started)}", *flags, environ=environ))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.kill()


@pytest.fixture(scope="session")
def session_batch_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchService]:
    """One echoing service for the whole session; a fault that somebody armed may still be."""
    service = BatchService(tmp_path_factory.mktemp("shared-service"))
    yield service
    service.kill()


@pytest.fixture
def shared_batch_service(session_batch_service: BatchService) -> BatchService:
    """One echoing service for all tests that need not restart it; no fault is armed."""
    session_batch_service.forgive()
    return session_batch_service
