"""A call ends although bytes trickle in or out, at every provider; one that moves goes on, however large it is."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpcore2 import NetworkStream, ReadTimeout, WriteTimeout

from configs.errors import LostReply, TransientError
from configs.home import Home
from configs.load import load_provider
from rigs.scripted_openai import SUBMISSION
from tasks.providers import deadlines
from tasks.providers.base import BatchService
from tasks.providers.deadlines import SLOWEST_LINE, TimedStream, with_deadlines
from tasks.providers.gemini import batches as gemini_batches
from tasks.providers.registry import connect

PATIENCE = 0.15  # seconds of a call in these tests
ANTHROPIC_BATCH = (
    b'{"id":"msgbatch_1","type":"message_batch","processing_status":"ended","results_url":"http://x/results"}'
)


@dataclass
class TricklingServer:
    """Answers a byte at a time, or reads a byte at a time; `at_once` is answered as it should be, by the path's end."""

    reads_slowly: bool = False
    head: bytes = b""  # sent at once, before the rest trickles
    at_once: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._answer(connection):
                    pass
            except OSError:
                return  # the client has had enough

    def _answer(self, connection: socket.socket) -> bool:
        if self.reads_slowly:
            while not self.stopped.wait(0.01) and connection.recv(1):
                pass
            return False
        request = connection.recv(65_536)
        path = request.split(b" ", 2)[1].decode().partition("?")[0] if request else ""
        reply = next((body for end, body in self.at_once.items() if path.endswith(end)), None)
        if reply is not None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % len(reply) + reply)
            return True
        connection.sendall(self.head)
        while request and not self.stopped.wait(0.01):
            connection.sendall(b"x")
        return False


@pytest.fixture
def server() -> Iterator[TricklingServer]:
    """The server, running."""
    trickling = TricklingServer()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        trickling.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=trickling.serve, args=(listener,), daemon=True)
        thread.start()
        yield trickling
        trickling.stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def connected(
    server: TricklingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], BatchService]:
    """The provider of that name as a run connects to it, at the trickling server and with little patience."""
    for timeout in (deadlines.READING, deadlines.CREATING):
        monkeypatch.setattr(timeout, "read", PATIENCE)
        monkeypatch.setattr(timeout, "write", PATIENCE)
    monkeypatch.setattr(gemini_batches, "_TIMEOUT_MS", int(PATIENCE * 1000))

    def service(name: str) -> BatchService:
        key = "endpoint" if name == "azure" else "base_url"
        settings = load_provider(name, (f"provider.{key}={server.url}", "provider.api_key_env=TEST_KEY"))
        return connect(settings, Home(tmp_path, "", ""), {"TEST_KEY": "sk-test"})

    return service


PROVIDERS = ("openai", "azure", "alibaba", "anthropic", "gemini")
BEGUN = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 1000000\r\n\r\n"
HEADS = {"in the headers": b"HTTP/1.1 200 OK\r\nx-", "in the body": BEGUN}
CALLS: dict[str, tuple[Callable[[BatchService], Any], type[TransientError]]] = {
    "poll": (lambda service: service.retrieve("batches/1"), TransientError),
    "download": (lambda service: service.download("msgbatch_1", io.BytesIO()), TransientError),
    "create": (lambda service: service.create(SUBMISSION, "files/1"), LostReply),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_reply_that_trickles_ends_like_one_that_does_not_come(
    server: TricklingServer, connected: Callable[[str], BatchService], provider: str, call: str, head: str
) -> None:
    server.head = HEADS[head]
    if (provider, call) == ("anthropic", "download"):
        server.at_once["/msgbatch_1"] = ANTHROPIC_BATCH
    make, error = CALLS[call]
    with pytest.raises(error, match=r"4,096 bytes a second|timed out"):
        make(connected(provider))


@pytest.mark.parametrize("provider", ["openai", "azure", "alibaba", "anthropic", "gemini"])
def test_an_upload_that_trickles_ends_and_is_looked_for(
    server: TricklingServer, connected: Callable[[str], BatchService], provider: str
) -> None:
    server.reads_slowly = True
    if provider == "anthropic":  # its requests go with the batch
        large = replace(SUBMISSION, lines=lambda: io.BytesIO(b"x" * 20_000_000))
        with pytest.raises(LostReply):
            connected(provider).create(large, "")
        return
    with pytest.raises(LostReply):
        connected(provider).upload("a.jsonl", io.BytesIO(b"x" * 20_000_000))


class Line(NetworkStream):
    """A line that moves `bytes_a_second`, by a clock of its own."""

    def __init__(self, bytes_a_second: float, piece: int) -> None:
        self.bytes_a_second, self.piece = bytes_a_second, piece
        self.now = 0.0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._pass(min(self.piece, max_bytes), timeout, ReadTimeout)
        return b"x" * min(self.piece, max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._pass(len(buffer), timeout, WriteTimeout)

    def _pass(self, moved: int, timeout: float | None, error: type[Exception]) -> None:
        took = moved / self.bytes_a_second
        self.now += min(took, timeout or took)
        if timeout is not None and took > timeout:
            raise error


def timed(line: Line, monkeypatch: pytest.MonkeyPatch) -> TimedStream:
    """The line, timed by its own clock."""
    monkeypatch.setattr(deadlines.time, "monotonic", lambda: line.now)
    return TimedStream(line)


def test_500_mb_over_a_slow_line_arrive_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(bytes_a_second=10_000, piece=65_536)
    stream = timed(line, monkeypatch)
    stream.write(b"GET", 120)
    received = sum(len(stream.read(65_536, 120)) for _ in range(500_000_000 // 65_536 + 1))
    assert received >= 500_000_000
    assert line.now > 13 * 3_600


@pytest.mark.parametrize(
    ("bytes_a_second", "piece", "after_at_most"),
    [(1, 1, 121), (SLOWEST_LINE * 0.5, 100, 250), (SLOWEST_LINE * 0.9, 1_000, 1_300)],
)
def test_a_line_that_is_too_slow_is_left(
    bytes_a_second: float, piece: int, after_at_most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(bytes_a_second, piece)
    stream = timed(line, monkeypatch)
    stream.write(b"G", 120)
    with pytest.raises(ReadTimeout):
        while True:
            stream.read(65_536, 120)
    assert 119 < line.now <= after_at_most


def test_what_came_fast_is_no_credit_for_hours_of_trickling(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(bytes_a_second=10_000_000, piece=65_536)
    stream = timed(line, monkeypatch)
    stream.write(b"GET", 120)
    for _ in range(10_000):
        stream.read(65_536, 120)
    line.bytes_a_second = line.piece = 1
    stalled_at = line.now
    with pytest.raises(ReadTimeout):
        while True:
            stream.read(65_536, 120)
    assert line.now - stalled_at < 130


def test_each_call_on_a_connection_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(bytes_a_second=1, piece=1)
    stream = timed(line, monkeypatch)
    for _ in range(5):
        stream.write(b"x" * 50, 120)
        for _ in range(50):
            stream.read(1, 120)
    with pytest.raises(WriteTimeout):
        stream.write(b"x" * 200_000, 120)


def test_a_proxy_of_the_environment_is_still_used_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    client = with_deadlines(httpx2.Client())
    pools = [mount._pool for mount in client._mounts.values() if mount is not None]  # type: ignore[attr-defined]
    assert pools
    assert all(pool._network_backend._wrap is TimedStream for pool in pools)
