"""A provider on loopback that answers real-time calls itself and has its batches done by the embedded service."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rigs.batch_service import BatchService

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
_NOT_FORWARDED = ("connection", "host", "transfer-encoding", "content-length")


class RealTime:
    """The provider, running at `url`. `asked` counts the real-time calls by the last message's text, `bodies` holds what they
    sent; a text in `refused` gets that HTTP status."""

    def __init__(self, batches: BatchService) -> None:
        self.batches = batches
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.refused: dict[str, int] = {}
        self._first: int | None = None
        self.waiting, self.go_on = threading.Event(), threading.Event()
        self.when_waiting: Callable[[], object] = lambda: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def stop(self) -> None:
        """Close the port."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer_first(self, calls: int) -> None:
        """The calls after so many wait until `go_on` is set; `waiting` tells of the first, and `when_waiting` is called."""
        self._first = calls

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the reply to a chat completion."""
        text = body["messages"][-1]["content"]
        self.asked[text] += 1
        self.bodies.append(body)
        if self._first is not None and len(self.bodies) > self._first:
            if not self.waiting.is_set():
                self.waiting.set()
                self.when_waiting()
            self.go_on.wait(60)
        if text in self.refused:
            return self.refused[text], {"error": {"message": "No.", "type": "invalid_request_error"}}
        message = {"role": "assistant", "content": f"At once: {text}"}
        return 200, {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": USAGE,
        }


def _handler(provider: RealTime) -> type[BaseHTTPRequestHandler]:
    there = urlsplit(provider.batches.url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path == "/v1/chat/completions":
                provider.keys.add(self.headers.get("authorization"))
                status, body = provider.answer(json.loads(sent))
                self._reply(status, {"content-type": "application/json"}, json.dumps(body).encode())
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _NOT_FORWARDED}
            connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=60)
            connection.request(self.command, self.path, sent, headers)
            reply = connection.getresponse()
            content = reply.read()
            kept = {k: v for k, v in reply.getheaders() if k.lower() not in _NOT_FORWARDED}
            connection.close()
            self._reply(reply.status, kept, content)

        def _reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            return

    return Handler


@contextmanager
def real_time_provider(batches: BatchService) -> Iterator[RealTime]:
    """The provider, running."""
    provider = RealTime(batches)
    yield provider
    provider.stop()


def stop_services(home: Path) -> None:
    """kill -9 of the embedded services that runs of this home have started."""
    for address in home.glob("local-batch/*/service.json"):
        with suppress(ProcessLookupError):
            os.kill(json.loads(address.read_bytes())["pid"], signal.SIGKILL)


@pytest.fixture
def real_time(shared_batch_service: BatchService, tmp_path: Path) -> Iterator[RealTime]:
    """Such a provider; the services that make its real-time calls for runs of the test's home end with the test."""
    with real_time_provider(shared_batch_service) as provider:
        yield provider
    stop_services(tmp_path / "home")
