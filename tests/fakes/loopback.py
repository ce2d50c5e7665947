"""The HTTP server that fake services are built on: routes by name, faults that hit the next calls of a route.

    fake.fault("create", "drop_reply", times=2)

action  drop_reply      do the work, then close the connection without an answer
        reset_before    close the connection before any work
        close_midway    half of the body, then close
        status:NNN      answer with that status; `retry_after` (seconds), `html`, `text`, `body` and `location` as wanted
        DAMAGE          200, and a reply that is damaged as tasks/local_batch/faults/damage.py lists

`skew` is how far the service's clock is ahead of ours, in its Date and in what it dates.

`echo` is repeated in every message, answer and result line, as some services repeat the key.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from tasks.local_batch.faults.damage import damaged


@dataclass
class Call:
    """One HTTP request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes


@dataclass
class Reply:
    """The response to one; `body` is bytes, or what becomes JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False  # no content-length, as a stream is sent
    until_close: bool = False  # no content-length, and the end of the connection is that of the body


@dataclass
class ArmedFault:
    """A fault that waits for its calls."""

    action: str
    times: int
    retry_after: str | None
    html: bool
    text: str | None
    location: str | None
    body: Any = None


class Refused(Exception):
    """Raised by an `on_...`: the call is answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


Route = tuple[str, str, str]  # method, pattern of the path, name
_FOR_PEOPLE = ("message", "content", "text", "refusal", "detail")
_TRUNCATE = "x-truncate"  # from a fault to the handler; never sent


class Loopback:
    """Serves `routes` on loopback: a subclass has a method `on_NAME(call, *groups) -> Reply` for each, and `refusal(status, text)`."""

    routes: ClassVar[tuple[Route, ...]] = ()

    def __init__(self) -> None:
        self.forget()
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def forget(self) -> None:
        """Forget every call and fault; the address stays."""
        self.skew = timedelta(0)
        self.calls: list[Call] = []
        self.seen: Counter[str] = Counter()
        self._armed: dict[str, list[ArmedFault]] = {}
        self.echo = ""

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(
        self,
        op: str,
        action: str,
        times: int = 1,
        *,
        retry_after: float | None = None,
        html: bool = False,
        text: str | None = None,
        location: str | None = None,
        body: Any = None,
    ) -> None:
        """Let the next `times` calls of a route go wrong."""
        assert op in {name for _, _, name in self.routes}, op
        after = None if retry_after is None else str(retry_after)
        self._armed.setdefault(op, []).append(ArmedFault(action, times, after, html, text, location, body))

    def forgive(self) -> None:
        """Disarm all of them."""
        self._armed.clear()

    def refusal(self, status: int, text: str) -> Reply:
        """An error as the service words it."""
        return Reply({"error": {"message": text}}, status)

    def answer(self, call: Call) -> Reply | None:
        """The reply, or None where the connection is to be dropped."""
        with self._lock:
            self.calls.append(call)
            route = self._route_of(call)
            if route is None:
                return self.refusal(404, f"no such page: {call.path}")
            name, groups = route
            self.seen[name] += 1
            fault = self._fault_for(name)
            if fault is not None and fault.action == "reset_before":
                return None
            if fault is not None and fault.action.startswith("status:"):
                return self._status(fault)
            try:
                reply = self.perform(name, call, groups)
            except Refused as refused:
                reply = self.refusal(refused.status, str(refused))
            if fault is not None and fault.action == "drop_reply":
                return None
            if fault is not None and fault.action == "close_midway":
                reply.headers[_TRUNCATE] = "1"
            elif fault is not None:
                damage(reply, fault.action)
            return reply

    def perform(self, name: str, call: Call, groups: tuple[str, ...]) -> Reply:
        """Do the work of a route."""
        reply: Reply = getattr(self, f"on_{name}")(call, *groups)
        return reply

    def _route_of(self, call: Call) -> tuple[str, tuple[str, ...]] | None:
        for method, pattern, name in self.routes:
            match = re.fullmatch(pattern, call.path) if method == call.method else None
            if match:
                return name, match.groups()
        return None

    def _fault_for(self, name: str) -> ArmedFault | None:
        armed = self._armed.get(name, [])
        if not armed:
            return None
        armed[0].times -= 1
        return armed.pop(0) if armed[0].times <= 0 else armed[0]

    def _status(self, fault: ArmedFault) -> Reply:
        status = int(fault.action.partition(":")[2])
        reply = self.refusal(status, fault.text or f"Told to answer {status}.")
        if fault.body is not None:
            reply.body = fault.body
        if fault.html:
            reply.body, reply.headers["content-type"] = b"<html>\n<h1>Bad Gateway</h1>\n</html>", "text/html"
        if fault.retry_after is not None:
            reply.headers["retry-after"] = fault.retry_after
        if fault.location is not None:
            reply.headers["location"] = fault.location
        return reply


def _echoing(body: Any, echo: str) -> Any:
    """A reply in which every text for people ends in `echo`; lines of JSON are read as such."""
    match body:
        case bytes() if b"html" in body:
            return body.replace(b"</h1>", echo.encode() + b"</h1>")
        case bytes():
            lines = (
                json.dumps(_echoing(json.loads(line), echo)) for line in body.split(b"\n") if line.strip()
            )
            return b"".join(line.encode() + b"\n" for line in lines)
        case list():
            return [_echoing(each, echo) for each in body]
        case dict():
            return {
                name: f"{value} {echo}"
                if name in _FOR_PEOPLE and isinstance(value, str)
                else _echoing(value, echo)
                for name, value in body.items()
            }
    return body


def damage(reply: Reply, action: str) -> None:
    """Let a good reply be none."""
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    reply.chunked, reply.until_close = False, action.startswith("cut_")
    reply.body = damaged(body, action)
    if action == "web_page":
        reply.headers["content-type"] = "text/html; charset=utf-8"
    if action == "other_batch":
        reply.headers["content-type"] = "application/json"
    if action == "cut_gzip":
        reply.headers["content-encoding"] = "gzip"


def _handler(fake: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            call = Call(
                self.command, url.path, dict(parse_qsl(url.query)), self.headers, self._request_body()
            )
            reply = fake.answer(call)
            if reply is None:
                self._close_connection()
                return
            content = _echoing(reply.body, fake.echo) if fake.echo else reply.body
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            kind = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json"
            truncate = reply.headers.pop(_TRUNCATE, None)
            headers: Mapping[str, str] = {"content-type": kind, **reply.headers}
            self.send_response(reply.status, f"{reply.status} {fake.echo}" if fake.echo else None)
            for name, value in headers.items():
                self.send_header(name, value)
            if reply.until_close:
                self.send_header("connection", "close")
            elif reply.chunked:
                self.send_header("transfer-encoding", "chunked")
            else:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            sent = body[: len(body) // 2] if truncate else body
            self.wfile.write(b"%x\r\n%b\r\n" % (len(sent), sent) if reply.chunked and sent else sent)
            if truncate:
                self.wfile.flush()
                self._close_connection()
            elif reply.chunked:
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = handle_any

        def _request_body(self) -> bytes:
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((timestamp or time.time()) + fake.skew.total_seconds())

        def _close_connection(self) -> None:
            self.close_connection = True
            self.connection.close()

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                return  # the connection was closed on purpose

        def log_message(self, *_: Any) -> None:
            return

    return Handler
