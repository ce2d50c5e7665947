"""A server on loopback that answers as told, for what no real service does on demand."""

from __future__ import annotations

import functools
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai import DefaultHttpxClient, OpenAI

from configs.providers.openai import OPENAI_LIMITS
from tasks.providers.base import BatchService, Submission
from tasks.providers.openai.compatible import OpenAICompatible, ServiceQuirks

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SUBMISSION = Submission(
    key="abc/1/1",
    file_name="nightmail-abc-1-1.jsonl",
    endpoint="/v1/chat/completions",
    model="m",
    completion_window="24h",
    requests=1,
    lines=lambda: io.BytesIO(b"{}\n"),
    metadata={"job": "letters", "run": "2026-11-21"},
)

Calls = dict[str, Callable[[BatchService], Any]]
"""Calls of a service by name; what they return differs."""

CALLS: Calls = {
    "upload": lambda service: service.upload("a.jsonl", io.BytesIO(b"{}\n")),
    "create": lambda service: service.create(SUBMISSION, "file-1"),
    "retrieve": lambda service: service.retrieve("batch_1"),
    "find": lambda service: service.find(SUBMISSION, LONG_AGO),
}


@dataclass
class ScriptedOpenAI:
    """Answers every call with `status`, `body` and `headers`, or drops the connection; keeps what it was sent."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    url: str = ""
    calls: list[tuple[str, str, bytes]] = field(default_factory=list)

    def forget(self) -> None:
        """As new, at the same place."""
        self.__dict__.update(ScriptedOpenAI(url=self.url).__dict__)

    @functools.cached_property
    def client(self) -> OpenAI:
        """The genuine SDK; building one takes longer than all of its calls."""
        return OpenAI(
            api_key="sk-secret",
            base_url=self.url,
            max_retries=0,
            http_client=DefaultHttpxClient(trust_env=False),
        )

    def service(self, **quirks: Any) -> OpenAICompatible:
        """The provider, spoken to through the genuine SDK without its own retries of reads."""
        return OpenAICompatible(
            account="scripted",
            limits=OPENAI_LIMITS,
            make_client=lambda *_: self.client,
            key_hint="check the key in TEST_KEY",
            quirks=ServiceQuirks(**quirks),
        )


@contextmanager
def scripted_server() -> Iterator[ScriptedOpenAI]:
    """The server, running."""
    script = ScriptedOpenAI()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(script))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


def _handler(script: ScriptedOpenAI) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            script.calls.append((self.command, self.path, sent))
            if script.drop:
                self.close_connection = True
                self.connection.close()
                return
            raw = isinstance(script.body, bytes)
            body = script.body if raw else json.dumps(script.body).encode()
            headers = {
                "content-type": "application/octet-stream" if raw else "application/json",
                "content-length": str(len(body)),
                **script.headers,
            }
            self.send_response(script.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            return

        def finish(self) -> None:
            if not script.drop:
                super().finish()

    return Handler
